// One batch or workflow: where it is, and its steps.

import { h } from '../dom.js';
import { get, post } from '../api.js';
import { between, exact, since } from '../format.js';
import { button, by, copy, empty, facts, head, jobLink, link, panel, pill, progress, table } from '../ui.js';
import { ask, toast } from '../dialogs.js';
import { jobCounts } from './flows.js';

const OVER = ['done', 'failed', 'cancelled'];

const cancel = (ctx, flow) =>
  ask({
    title: `Cancel ${flow.name}?`,
    text: 'Its jobs that wait are over at once, those that run are asked to end, and what its steps have done is undone where they can.',
    fields: [{ name: 'reason', label: 'Reason (no personal data)', maxlength: 500 }],
    confirm: 'Cancel the flow',
    danger: true,
    act: async ({ reason }) => {
      await post(`v1/admin/flows/${flow.id}/cancel`, { reason });
      toast('The flow is cancelled.');
      ctx.reload();
    },
  });

function steps(list) {
  return panel('Steps', null, table('Steps', [
    { head: 'Step', cell: (s) => (s.job_id ? jobLink(s.job_id, s.name) : s.name) },
    { head: 'State', cell: (s) => pill(s.state) },
    { head: 'Needs', wide: true, cell: (s) => s.needs?.join(', ') || '–' },
    { head: 'Undone by', cell: (s) => (s.undo_job_id ? jobLink(s.undo_job_id) : '–') },
    { head: 'Result', wide: true, cell: (s) => (s.result === null || s.result === undefined ? '–' : h('code', {}, JSON.stringify(s.result))) },
  ], list, (s) => s.name, empty('A batch has no steps.', 'Its jobs are listed by what they belong to.')));
}

export default {
  name: 'flow',
  title: 'Flow',
  every: 3000,
  load: (ctx, signal) => get(`v1/admin/flows/${encodeURIComponent(ctx.params.id)}`, {}, signal),
  view: (ctx, flow) => [
    head([h('span', { class: 'crumb' }, link('flows', 'Flows'), ' / '), flow.name], pill(flow.state),
      OVER.includes(flow.state) ? null : button('Cancel…', () => cancel(ctx, flow), { kind: 'quiet-danger' })),
    h('p', { class: 'idline' }, h('code', {}, flow.id), copy(flow.id)),
    flow.held_by?.length ? h('p', { class: 'alarm' }, 'It stands still until somebody has retried or discarded: ', flow.held_by.map((id) => [jobLink(id), ' '])) : null,
    flow.cancelled ? h('p', { class: 'alarm' }, 'Cancelled by ', by(flow.cancelled_by), flow.cancel_reason ? `: ${flow.cancel_reason}` : '') : null,
    panel('Facts', null, facts([
      flow.progress && ['Through', progress(flow.progress)],
      ['Kind', flow.kind], ['Begun', exact(flow.created_at)], ['Over', flow.finished_at && exact(flow.finished_at)],
      [flow.finished_at ? 'Took' : 'For', flow.finished_at ? between(flow.created_at, flow.finished_at) : since(flow.created_at)],
      ['Jobs', h('span', { class: 'tags' }, jobCounts(flow.jobs))],
      flow.correlation_id && ['Belongs to', link(`jobs?correlation_id=${flow.correlation_id}`, 'its jobs'), ' · ', link(`orders/${flow.correlation_id}`, 'as an order')],
    ])),
    flow.steps ? steps(flow.steps) : null,
  ],
};
