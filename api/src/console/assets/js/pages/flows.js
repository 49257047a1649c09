// Batches and workflows.

import { maybe } from '../api.js';
import { number, when } from '../format.js';
import { empty, head, link, pager, pill, table } from '../ui.js';
import * as filters from '../filters.js';
import { h } from '../dom.js';

const STATES = ['running', 'undoing', 'done', 'failed', 'cancelled'];
/** The jobs of a flow by state, in the order in which they pass through them. */
export const jobCounts = (jobs) =>
  [...filters.STATES].filter((state) => jobs?.[state]).map((state) => h('span', { class: 'tag', key: state }, pill(state), number(jobs[state])));

export default {
  name: 'flows',
  title: 'Flows',
  every: 4000,
  load: async (ctx, signal) =>
    (await maybe('v1/admin/flows', { state: ctx.query.get('state'), kind: ctx.query.get('kind'), name: ctx.query.get('name'), held: ctx.query.get('held'), cursor: ctx.query.get('cursor'), limit: 50 }, signal)) ?? { missing: true },
  view: (ctx, page) => (page.missing
    ? [head('Flows'), empty('This version of the API does not list flows.', 'A job that is part of one names it; find its jobs by what they belong to.')]
    : [
      head('Flows'),
      filters.states(ctx, STATES),
      h('div', { class: 'filters' }, filters.select(ctx, 'kind', 'Kind', [['', 'Any'], ['batch'], ['workflow']]), filters.text(ctx, 'name', 'Name', { placeholder: 'import', 'data-search': true }),
        filters.select(ctx, 'held', 'Held', [['', 'Any'], ['true', 'somebody must decide']]), filters.clear(ctx)),
      table('Flows', [
        { head: 'Name', cell: (f) => link(`flows/${f.id}`, f.name) },
        { head: 'Kind', cell: (f) => f.kind },
        { head: 'State', cell: (f) => [pill(f.state), f.cancelled && f.state !== 'cancelled' ? pill('cancelled', 'cancelled, turns back') : null, f.held ? pill('dead', 'held') : null] },
        { head: 'Jobs', wide: true, cell: (f) => h('span', { class: 'tags' }, jobCounts(f.jobs ?? f.report)) },
        { head: 'Begun', cell: (f) => when(f.created_at) },
        { head: 'Over', cell: (f) => (f.finished_at ? when(f.finished_at) : '–') },
      ], page.data, (f) => f.id, empty('No flow is like that.', 'Batches and workflows come here when they begin.')),
      pager(ctx, page.next_cursor),
    ]),
};
