//! What an endpoint is sent: the event for programs, or a message that a chat program shows.

import type { EndpointShape } from '../../backend/types'
import type { PlainKey } from '../../i18n'

export const shapes: readonly EndpointShape[] = ['event', 'slack', 'discord', 'teams']
export const shapeWords: Record<EndpointShape, PlainKey> = {
  event: 'endpoint.shape.event',
  slack: 'endpoint.shape.slack',
  discord: 'endpoint.shape.discord',
  teams: 'endpoint.shape.teams',
}

const HOSTS: [EndpointShape, string[]][] = [
  ['slack', ['hooks.slack.com']],
  ['discord', ['discord.com', 'discordapp.com']],
  ['teams', ['webhook.office.com', 'logic.azure.com', 'powerplatform.com']],
]

/** Whose address it is, as far as that is known. */
export function shapeOf(host: string): EndpointShape {
  const name = host.toLowerCase().replace(/:\d+$/, '')
  return HOSTS.find(([, known]) => known.some((one) => name === one || name.endsWith(`.${one}`)))?.[0] ?? 'event'
}
