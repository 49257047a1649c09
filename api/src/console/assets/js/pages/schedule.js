// One schedule: its times to come, and its runs.

import { h } from '../dom.js';
import { del, get } from '../api.js';
import { between, exact, when } from '../format.js';
import { button, empty, facts, head, jobLink, json, kindLink, link, panel, pill, queueLink, table } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';
import { actions, edit, scheduleState } from './schedules.js';

const path = (name) => `v1/admin/schedules/${encodeURIComponent(name)}`;

const remove = (s) =>
  ask({
    title: `Remove ${s.name}?`,
    text: 'With the record of its runs. Jobs that it enqueued stay.',
    confirm: 'Remove the schedule',
    danger: true,
    act: async () => { await del(path(s.name)); toast(`${s.name} is removed.`); location.hash = '#/schedules'; },
  });

const OVERLAP = { skip: 'the time is left out', queue: 'both run, one after the other', allow: 'both run' };
const MISSED = { skip: 'are forgotten', once: 'fire once together', all: 'fire each' };

export default {
  name: 'schedule',
  title: 'Schedule',
  every: 4000,
  load: (ctx, signal) => get(path(ctx.params.name), {}, signal),
  view: (ctx, s) => [
    head([h('span', { class: 'crumb' }, link('schedules', 'Schedules'), ' / '), s.name], scheduleState(s), actions(ctx, s),
      s.origin === 'api' ? [button('Change…', () => attempt(() => edit(ctx, s))), button('Remove…', () => remove(s), { kind: 'quiet-danger' })] : null),
    s.problem ? h('p', { class: 'alarm' }, s.problem) : null,
    h('div', { class: 'columns' },
      panel('What', null, facts([
        ['When', h('code', {}, s.spec)], ['Time zone', s.time_zone], ['Kind', kindLink(s.kind)], ['Queue', queueLink(s.queue)],
        ['Missed times', `${MISSED[s.missed] ?? s.missed}${s.missed === 'all' ? `, ${s.missed_limit} at most` : ''}`],
        ['While its last job lives', OVERLAP[s.overlap] ?? s.overlap], ['From', s.origin === 'code' ? 'the program' : 'an operator'],
      ]), Object.keys(s.arguments ?? {}).length ? json(s.arguments) : null),
      panel('Next', null, s.next_runs.length ? h('ol', { class: 'times' }, s.next_runs.map((at) => h('li', { key: at }, exact(at), ' ', h('span', { class: 'muted' }, when(at)))))
        : empty('No time to come.', s.paused ? 'It rests: resume it.' : 'It was for one time only.'))),
    panel('Runs', 'the last twenty', table('Runs', [
      { head: 'For', cell: (r) => exact(r.fire_at) },
      { head: 'Fired', cell: (r) => when(r.fired_at) },
      { head: 'By', cell: (r) => (r.manual ? 'an operator' : 'its time') },
      { head: 'Job', cell: (r) => (r.job_id ? [jobLink(r.job_id), r.existing ? ' (was there already)' : ''] : h('span', { class: 'muted' }, 'left out: the one before lived')) },
      { head: 'State', cell: (r) => (r.state ? pill(r.state) : '–') },
      { head: 'Took', num: true, cell: (r) => (r.finished_at ? between(r.fired_at, r.finished_at) : '–') },
      { head: 'Result', wide: true, cell: (r) => (r.result === null || r.result === undefined ? '–' : h('code', { class: 'clip', title: JSON.stringify(r.result) }, JSON.stringify(r.result))) },
    ], s.runs, (r) => `${r.fire_at} ${r.job_id}`, empty('It has not run yet.', 'Run it now to see whether it works.'))),
  ],
};
