import { expect, test } from 'vitest'
import css from './styles/tokens.css?raw'
import { bookingStates, deliveryStates, endpointStates, inboxChecks, inboxResults, lampStates, owedStates, paymentStates, sagaStates, stepStates, type Sign } from './states'

test('only what a person must decide has the one solid colour', () => {
  const all: [string, Sign][] = [bookingStates, paymentStates, sagaStates, stepStates, deliveryStates, owedStates, endpointStates, inboxChecks, inboxResults, lampStates].flatMap((table) => Object.entries(table))
  expect(all.filter(([, sign]) => sign.role === 'person').map(([state]) => state)).toEqual(['disputed', 'needs_person', 'needs_person', 'unclear', 'held', 'unclear', 'held', 'quarantined'])
})

test('unknown is never green', () => {
  for (const sign of [paymentStates.unknown, stepStates.unknown, lampStates.unknown, deliveryStates.unclear, owedStates.unclear, inboxResults.kept]) expect(sign.role).not.toBe('ok')
})

test('the two dark blocks of the tokens say the same', () => {
  const block = (start: string) => {
    const from = css.indexOf('{', css.indexOf(start)) + 1
    return css
      .slice(from, css.indexOf('}', from))
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean)
  }
  expect(block(':root[data-theme="dark"] {')).toEqual(block(':root:not([data-theme="light"])'))
})
