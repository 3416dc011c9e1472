import { mount } from 'svelte'
import App from './App.svelte'
import { chooseBackend } from './backend'
import { applyPrefs } from './lib/prefs.svelte'
import './styles/index.css'

applyPrefs()
const target = document.getElementById('app')
if (target) mount(App, { target, props: { backend: await chooseBackend() } })
