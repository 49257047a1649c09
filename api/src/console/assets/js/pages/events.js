// Events: what pipelines are behind, what waits in the outbox, and giving a pipeline events of the past again.

import { h } from '../dom.js';
import { get, maybe, post } from '../api.js';
import { ago, count, number, span, when } from '../format.js';
import { button, empty, head, jobLink, json, link, panel, table } from '../ui.js';
import { ask, toast } from '../dialogs.js';
import * as filters from '../filters.js';

/** As an input of local time wants it. */
const hourAgo = () => new Date(Date.now() - 3_600_000 - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

async function replay(pipeline) {
  const wanted = await ask({
    title: `Give ${pipeline.name} events again`,
    text: 'Those that it has handled come to it again, in their old order and under their old ids. What it does once by a key of its own (the mail of an order, a delivery) is not done again.',
    fields: [
      { name: 'since', label: 'Created from', type: 'datetime-local', value: hourAgo(), required: true },
      { name: 'until', label: 'Created before', type: 'datetime-local', hint: 'Empty: now.' },
      { name: 'topic', label: 'Topic', options: [['', 'all that it reacts to'], ...pipeline.topics.map((topic) => [topic])] },
    ],
    confirm: 'Count them',
    act: async (values) => {
      const since = new Date(values.since).toISOString();
      // Fixed now, so that what is counted is what is replayed.
      const until = values.until ? new Date(values.until).toISOString() : ago(0);
      const { events } = await get(`v1/admin/pipelines/${pipeline.name}/replays/count`, { since, until, topic: values.topic });
      return { since, until, topics: values.topic ? [values.topic] : undefined, events };
    },
  });
  if (!wanted) return;
  const { events, ...body } = wanted;
  if (!events) {
    toast('No event of that time is kept: nothing to replay.');
    return;
  }
  await ask({
    title: `Replay ${count(events, 'event')} to ${pipeline.name}?`,
    text: `Created from ${body.since} until ${body.until}${body.topics ? `, of ${body.topics[0]}` : ''}. A job does it, in steps.`,
    confirm: `Replay ${count(events, 'event')}`,
    danger: true,
    act: async () => {
      const job = await post(`v1/admin/pipelines/${pipeline.name}/replays`, body);
      toast('The replay is ', jobLink(job.id, 'this job'), '.');
    },
  });
}

async function republish(ctx) {
  await ask({
    title: 'Publish events of the past again',
    text: 'To the broker’s exchange, for consumers with queues of their own. They keep their ids; Waybill’s own pipelines leave them alone. A job does it, in steps.',
    fields: [
      { name: 'since', label: 'Created from', type: 'datetime-local', required: true, value: hourAgo(), size: 'half' },
      { name: 'until', label: 'Created before', type: 'datetime-local', size: 'half', hint: 'Empty: now.' },
      { name: 'topic', label: 'Only this topic', placeholder: 'all' },
      { name: 'all', type: 'checkbox', label: 'Those too that the broker has carried before' },
    ],
    confirm: 'Publish them again',
    danger: true,
    act: async (values) => {
      const job = await post('v1/admin/events/republish', {
        since: new Date(values.since).toISOString(), until: values.until ? new Date(values.until).toISOString() : undefined,
        topics: values.topic ? [values.topic] : undefined, all: values.all,
      });
      toast('They are published by ', jobLink(job.id, 'this job'), '.');
    },
  });
}

function log(ctx, page) {
  const rows = page.data.map((row) => ({ ...row, ...(row.event ?? {}) }));
  const last = ctx.query.get('last') ?? '3600';
  return panel('Handed on', button('Publish again…', () => republish(ctx)),
    h('div', { class: 'filters' }, filters.text(ctx, 'topic', 'Topic', { placeholder: 'order.placed', 'data-search': true }),
      filters.text(ctx, 'aggregate', 'About', { placeholder: 'id of an order, a product, …' }),
      filters.select(ctx, 'lane', 'Over', [['', 'Any lane'], ['amqp', 'the broker'], ['postgres', 'Postgres']]),
      h('label', { class: 'filter' }, h('span', {}, 'Time'), h('select', { value: last, onchange: (e) => filters.set(ctx, { last: e.target.value }) },
        [['900', 'Last 15 minutes'], ['3600', 'Last hour'], ['86400', 'Last day'], ['604800', 'Last week']].map(([value, text]) => h('option', { value }, text)))),
      filters.clear(ctx)),
    h('div', { class: 'spaced' }, table('Events that were handed on', [
      { head: 'Topic', cell: (e) => h('b', {}, e.topic) },
      { head: 'Event', cell: (e) => h('code', { class: 'id', title: e.id }, `…${String(e.id).slice(-8)}`) },
      { head: 'About', cell: (e) => (e.aggregate === 'order' ? link(`orders/${e.aggregate_id}`, `order …${String(e.aggregate_id).slice(-8)}`)
        : h('span', { title: e.aggregate_id }, `${e.aggregate} …${String(e.aggregate_id).slice(-8)}`)) },
      { head: 'Handed on', cell: (e) => when(e.published_at) },
      { head: 'Over', cell: (e) => e.lane },
      { head: 'To', cell: (e) => e.pipelines?.join(', ') || '–' },
      { head: 'Content', wide: true, cell: (e) => h('details', { key: 'content' }, h('summary', {}, 'Show'), json(e.event ?? e.payload)) },
    ], rows, (e) => e.id, empty('No event is like that.', 'They are listed ten seconds after they were handed on, the oldest first.'))),
    page.more ? h('nav', { class: 'pager', 'aria-label': 'Pages' }, h('a', { class: 'button', href: ctx.hash({ cursor: page.next_cursor }) }, 'Later ›')) : null);
}

export default {
  name: 'events',
  title: 'Events',
  every: 4000,
  async load(ctx, signal) {
    const [pipelines, outbox, events] = await Promise.all([
      get('v1/admin/pipelines', {}, signal), maybe('v1/admin/system/outbox', {}, signal),
      maybe('v1/admin/events', {
        topic: ctx.query.get('topic'), aggregate: ctx.query.get('aggregate'), lane: ctx.query.get('lane'), since: ago(Number(ctx.query.get('last') ?? 3600)),
        cursor: ctx.query.get('cursor'), limit: 50,
      }, signal),
    ]);
    return { pipelines: pipelines.data, outbox: outbox?.data ?? [], events };
  },
  view: (ctx, { pipelines, outbox, events }) => [
    head('Events'),
    panel('Pipelines', null, table('Pipelines', [
      { head: 'Pipeline', cell: (p) => h('b', {}, p.name) },
      { head: 'At the broker', num: true, cell: (p) => number(p.at_broker) },
      { head: 'As jobs', num: true, cell: (p) => link(`jobs?state=queued,scheduled,running&queue=events.${p.name}`, number(p.as_jobs)) },
      { head: 'Given up', num: true, cell: (p) => (p.dead ? link(`dead?queue=events.${p.name}`, number(p.dead)) : '0') },
      { head: 'Oldest', num: true, cell: (p) => (p.oldest_seconds ? span(p.oldest_seconds) : '–') },
      { head: 'Reacts to', wide: true, cell: (p) => h('span', { class: 'tags' }, p.topics.map((topic) => h('span', { class: 'tag', key: topic }, topic))) },
      { head: 'Actions', cell: (p) => h('div', { class: 'row-actions' }, button('Replay…', () => replay(p))) },
    ], pipelines, (p) => p.name)),
    panel('Outbox', 'written, not handed on yet', table('Outbox', [
      { head: 'Topic', cell: (t) => t.topic },
      { head: 'Events', num: true, cell: (t) => number(t.events) },
      { head: 'Oldest', num: true, cell: (t) => span(t.oldest_seconds) },
    ], outbox, (t) => t.topic, empty('Everything is handed on.', 'What stays here for long means that no relay runs: start a worker.'))),
    events ? log(ctx, events) : null,
  ],
};
