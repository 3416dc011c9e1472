//! What a journey needs of the database before it begins, past the desk.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Of the desk that .ci/journeys started; its journeys are skipped against another. */
export const data = process.env.BIZING_DATA

/** Asks the desk's private server as its superuser. */
export function psql(sql: string): string {
  const folder = join(data!, 'postgres')
  const env = { ...process.env, PGPASSWORD: readFileSync(join(folder, 'password'), 'utf8').trim() }
  return execFileSync('psql', ['-qAtX', '-h', join(folder, 'run'), '-U', 'bizing', 'bizing_demo', '-c', sql], { env, encoding: 'utf8' }).trim()
}

/** From here on these figures count. */
export function policy(figures: object): void {
  psql(`insert into saga.policy (version, value, reason) select version + 1, value || '${JSON.stringify(figures)}', 'for this journey' from saga.policy order by version desc limit 1`)
}
