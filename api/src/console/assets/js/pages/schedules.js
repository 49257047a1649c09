// What comes round.

import { h } from '../dom.js';
import { get, post, put } from '../api.js';
import { when } from '../format.js';
import { button, head, jobLink, kindLink, link, pill, table } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';

const path = (name, what = '') => `v1/admin/schedules/${encodeURIComponent(name)}${what}`;

export const pause = (ctx, s) => attempt(() => post(path(s.name, '/pause')), `${s.name} rests.`).then(() => ctx.reload());
export const resume = (ctx, s) => attempt(() => post(path(s.name, '/resume')), `${s.name} goes on; its next time counts from now.`).then(() => ctx.reload());

/** Runs it once now; beside a job of it that still lives only if asked to. */
export const run = (ctx, s) =>
  ask({
    title: `Run ${s.name} now?`,
    text: 'Once, beside its times, which stay as they are.',
    fields: s.overlap !== 'skip' ? [] : [{ name: 'force', type: 'checkbox', label: 'Also if its last job still lives' }],
    confirm: 'Run now',
    act: async ({ force }) => {
      const job = await post(path(s.name, '/run'), {}, { force: force ? 'true' : undefined });
      toast('Enqueued: ', jobLink(job.id));
      ctx.reload();
    },
  });

/** Makes a schedule, or changes `s`. */
export async function edit(ctx, s) {
  const kinds = (await get('v1/admin/system/kinds')).data.map((kind) => [kind.kind]);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return ask({
    title: s ? `Change ${s.name}` : 'New schedule',
    text: s ? 'It is replaced whole, and its times count from now.' : [],
    fields: [
      { name: 'name', label: 'Name', value: s?.name, readonly: Boolean(s), required: true, pattern: '[a-z0-9][a-z0-9._\\-]{0,62}', placeholder: 'nightly-clean-up', hint: 'a–z, 0–9, dot, dash, underscore; permanent.' },
      { name: 'spec', label: 'When', value: s?.spec, required: true, placeholder: '30 1 * * *', size: 'half', hint: 'every 30s, at 2030-12-24T18:00:00Z, or five or six cron fields.' },
      { name: 'time_zone', label: 'Time zone of cron fields', value: s?.time_zone ?? 'UTC', size: 'half', hint: `IANA name; here it is ${zone}.` },
      { name: 'kind', label: 'Kind', value: s?.kind ?? '', required: true, options: [['', 'Choose…'], ...kinds] },
      { name: 'arguments', label: 'Arguments (JSON)', type: 'textarea', value: JSON.stringify(s?.arguments ?? {}, null, 2) },
      { name: 'missed', label: 'Times that were missed', value: s?.missed ?? 'once', size: 'half', options: [['once', 'fire once together'], ['skip', 'are forgotten'], ['all', 'fire each']] },
      { name: 'missed_limit', label: 'Of them at most', type: 'number', size: 'half', min: 1, max: 1000, value: s?.missed_limit ?? 1 },
      { name: 'overlap', label: 'When the last job still lives', value: s?.overlap ?? 'skip', options: [['skip', 'the time is left out'], ['queue', 'both run, one after the other'], ['allow', 'both run']] },
      { name: 'paused', label: 'Rests to begin with', type: 'checkbox', value: s?.paused },
    ],
    confirm: s ? 'Replace it' : 'Make it',
    act: async ({ name, arguments: text, ...rest }) => {
      let args;
      try {
        args = JSON.parse(text || '{}');
      } catch (error) {
        throw new Error(`The arguments are no JSON: ${error.message}`);
      }
      await put(path(name), { ...rest, missed_limit: rest.missed_limit ?? 1, arguments: args });
      toast(`${name} is set.`);
      ctx.reload();
    },
  });
}

export const scheduleState = (s) =>
  s.problem ? pill('failed', s.paused ? 'rests: problem' : 'problem', s.problem) : s.paused ? pill('paused') : s.next_at ? pill('ok', 'active') : pill('calm', 'over');

export const actions = (ctx, s) => [
  s.paused ? button('Resume', () => resume(ctx, s)) : button('Pause', () => pause(ctx, s)), button('Run now…', () => run(ctx, s)),
];

export default {
  name: 'schedules',
  title: 'Schedules',
  every: 5000,
  load: async (_, signal) => (await get('v1/admin/schedules', {}, signal)).data,
  view: (ctx, list) => [
    head('Schedules', button('New schedule…', () => attempt(() => edit(ctx)), { kind: 'primary' })),
    table('Schedules', [
      { head: 'Schedule', cell: (s) => link(`schedules/${encodeURIComponent(s.name)}`, s.name) },
      { head: 'When', cell: (s) => [h('code', { class: 'id' }, s.spec), s.time_zone === 'UTC' ? null : h('small', { class: 'muted block' }, s.time_zone)] },
      { head: 'Kind', cell: (s) => kindLink(s.kind) },
      { head: 'State', cell: scheduleState },
      { head: 'Next', cell: (s) => (s.next_at ? when(s.next_at) : '–') },
      { head: 'Last', cell: (s) => (s.last_at ? when(s.last_at) : '–') },
      { head: 'Last job', cell: (s) => (s.last_job_id ? jobLink(s.last_job_id) : '–') },
      { head: 'From', cell: (s) => (s.origin === 'code' ? 'the program' : 'here') },
      { head: 'Actions', cell: (s) => h('div', { class: 'row-actions' }, actions(ctx, s)) },
    ], list, (s) => s.name),
  ],
};
