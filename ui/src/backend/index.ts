import type { Backend } from './backend'

/** Chosen at run time, so that one build serves the app and the browser. */
export async function chooseBackend(): Promise<Backend> {
  if ('__TAURI_INTERNALS__' in window) {
    const { TauriBackend } = await import('./tauri')
    return new TauriBackend()
  }
  const { HttpBackend } = await import('./http')
  return new HttpBackend()
}
