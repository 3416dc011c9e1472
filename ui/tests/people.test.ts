import { expect, test } from 'vitest'
import { people } from '../src/backend/admin'
import { appError } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { loginFor } from '../src/views/settings/logins'
import { accessible, all, click, find, open, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)

test('a login is made of a name', () => {
  expect(['Inês Carvalho', '  Ana ', 'Jürgen Weiß', '3D Lab', 'ليلى', 'O’Brien'].map(loginFor)).toEqual(['ines', 'ana', 'jurgen', 'd', '', 'obrien'])
})

test('everybody is there with what they may do, and oneself cannot be changed', async () => {
  open('/settings/people')
  await until(() => all('person').length === 4, 'four people')
  expect(all('computer')).toHaveLength(1)
  const sofia = all('person').find((row) => row.dataset.login === 'sofia')!
  expect(sofia.querySelector('[data-testid=person-group]')).toBeNull()
  expect(sofia.querySelector('[data-testid=person-off]')!.getAttribute('aria-disabled')).toBe('true')
  await says('Switched off')
  await accessible()
})

test('a new person gets a login and a password that is shown once', async () => {
  const backend = open('/settings/people')
  await until(() => all('person').length === 4, 'four people')
  click(find('person-new')!)
  await seen('new-person')
  type('person-name', 'Inês Carvalho')
  await until(() => (find('person-login') as HTMLInputElement).value === 'ines', 'a login of the name')
  await accessible()
  click(find('person-make')!)
  await seen('person-made')
  await until(() => !find('new-person'), 'the form is gone')
  expect(asked(backend, 'add_person')[0]!.params).toEqual({ name: 'Inês Carvalho', login: 'ines', group: 'staff' })
  expect((find('made-password') as HTMLInputElement).value).toBe('k7Qw2mZx9TfB4sLd')
  expect((find('made-address') as HTMLInputElement).value).not.toContain('k7Qw2mZx9TfB4sLd')
  await accessible()
  click(find('person-made-keep')!)
  await until(() => !find('person-made'), 'gone')
})

test('a login that is taken is said beside the field, and what was typed stays', async () => {
  const backend = open('/settings/people')
  await until(() => all('person').length === 4, 'four people')
  backend.fail('add_person', appError('request.invalid', 'This server has a login `ana` already.', { field: 'login' }))
  click(find('person-new')!)
  await seen('new-person')
  type('person-name', 'Ana Lind')
  click(find('person-make')!)
  await says('This server has a login `ana` already.')
  expect((find('person-name') as HTMLInputElement).value).toBe('Ana Lind')
})

test('somebody is switched off after a question, and on without one', async () => {
  const backend = open('/settings/people')
  await until(() => all('person').length === 4, 'four people')
  const row = (login: string) => all('person').find((each) => each.dataset.login === login)!
  click(row('ana').querySelector<HTMLElement>('[data-testid=person-off]')!)
  await seen('person-asked')
  expect(asked(backend, 'change_person')).toHaveLength(0)
  click(find('person-go')!)
  await until(() => asked(backend, 'change_person').length === 1, 'off')
  await until(() => !find('person-asked'), 'the question is gone')
  click(row('marta').querySelector<HTMLElement>('[data-testid=person-on]')!)
  await until(() => asked(backend, 'change_person').length === 2, 'on')
  expect(asked(backend, 'change_person').map((call) => call.params)).toEqual([
    { login: 'ana', change: 'disable' },
    { login: 'marta', change: 'enable' },
  ])
})

test('who may not change people is told why, and sees what may be seen', async () => {
  const backend = world()
  backend.on('list_people', () => ({ ...people, refused: 'Your login may not make others on this server.' }))
  open('/settings/people', backend)
  await seen('people-refused')
  expect(find('person-new')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
})
