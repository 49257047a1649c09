// Who changed what.

import { h } from '../dom.js';
import { get, who } from '../api.js';
import { exact, plain, when } from '../format.js';
import { by, empty, head, jobLink, link, pager, queueLink, table } from '../ui.js';
import * as filters from '../filters.js';

/** What actions begin with. */
const AREAS = [['', 'Anything'], ['queue', 'queues'], ['kind', 'kinds'], ['job', 'jobs'], ['flow', 'flows'], ['worker', 'workers'], ['schedule', 'schedules'], ['dependency', 'dependencies'], ['events', 'events']];
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function target({ action, target: what }) {
  if (action.startsWith('queue.')) return queueLink(what);
  if (action.startsWith('schedule.')) return link(`schedules/${encodeURIComponent(what)}`, what);
  if (action.startsWith('job.') && ID.test(what)) return jobLink(what);
  if (action.startsWith('flow.') && ID.test(what)) return link(`flows/${what}`, h('code', {}, what));
  if (action.startsWith('worker.')) return link('workers', h('code', {}, `…${what.slice(-8)}`));
  if (action.startsWith('dependency.')) return link('dependencies', what);
  return what;
}

const detail = (d) => Object.entries(d ?? {}).filter(([, v]) => v !== null && v !== '').map(([name, value]) => `${name.replaceAll('_', ' ')}: ${plain(value)}`).join(', ');

export default {
  name: 'audit',
  title: 'Actions',
  every: 5000,
  load: (ctx, signal) => get('v1/admin/system/actions', {
    actor: ctx.query.get('actor'), action: ctx.query.get('action'), target: ctx.query.get('target'), cursor: ctx.query.get('cursor'), limit: 50,
  }, signal),
  view: (ctx, page) => [
    head('Actions', h('span', { class: 'muted' }, 'every change by an operator, kept for a year')),
    h('div', { class: 'filters' },
      filters.select(ctx, 'action', 'What', AREAS), filters.text(ctx, 'target', 'On', { placeholder: 'a queue, a kind, a job’s id', 'data-search': true }),
      filters.select(ctx, 'actor', 'By', [['', 'Anybody'], ...(who()?.actor ? [[who().actor, 'you']] : [])]), filters.clear(ctx)),
    table('Actions', [
      { head: 'When', cell: (a) => [exact(a.at), h('small', { class: 'muted block' }, when(a.at))] },
      { head: 'Action', cell: (a) => h('b', {}, a.action) },
      { head: 'On', cell: target },
      { head: 'By', cell: (a) => by(a.actor) },
      { head: 'With', wide: true, cell: (a) => detail(a.detail) || '–' },
    ], page.data, (a) => `${a.at} ${a.action} ${a.target}`, ctx.query.size ? empty('No action is like that.', h('a', { href: '#/audit' }, 'See all')) : empty('Nobody has changed anything yet.', 'Pauses, limits, retries, replays and the like are recorded here.')),
    pager(ctx, page.next_cursor),
  ],
};
