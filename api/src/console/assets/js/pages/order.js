// One order: where it is and why, and everything it caused.

import { h } from '../dom.js';
import { get } from '../api.js';
import { follow } from '../live.js';
import { clock, exact, money, number, plain, span } from '../format.js';
import { copy, empty, facts, head, jobLink, link, panel, pill, table } from '../ui.js';

const STEPS = ['accepted', 'reserved', 'authorized', 'captured', 'completed'];

function stepper(order) {
  const undone = ['compensating', 'compensated'].includes(order.step);
  const at = STEPS.indexOf(order.step);
  return h('ol', { class: `steps ${undone ? 'undone' : ''}`, 'aria-label': 'The checkout’s steps' },
    STEPS.map((step, i) => h('li', { class: i < at || order.step === 'completed' ? 'past' : i === at ? 'now' : 'next', 'aria-current': i === at ? 'step' : undefined }, step)),
    undone ? h('li', { class: 'now', 'aria-current': 'step' }, order.step) : null);
}

/** What of an entry is not worth a place in its line: ids, times, and what the line says already. */
const ASIDE = /(_id|_at|^at|^error|^outcome|^effect|^version|^result)$/;

/** What is worth it; all is shown when the entry is opened. */
const words = (entry) =>
  Object.entries(entry.detail ?? {})
    .filter(([name, value]) => value && typeof value !== 'object' && !ASIDE.test(name) && !(name === 'attempt' && value === 1))
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${value}`).join(', ');

const entryLink = (entry) => (['job', 'attempt'].includes(entry.source) && entry.id ? jobLink(entry.id, entry.kind) : entry.kind);

function trail(ctx, entries) {
  const sources = [...new Set(entries.map((entry) => entry.source))];
  const only = ctx.state.only ?? '';
  const shown = entries.filter((entry) => !only || entry.source === only);
  const begin = Date.parse(entries[0]?.at);
  return panel('Trail', h('select', { 'aria-label': 'Show only', value: only, onchange: (e) => { ctx.state.only = e.target.value; ctx.update(); } },
    h('option', { value: '' }, `everything (${entries.length})`), sources.map((source) => h('option', { value: source }, source))),
  shown.length ? h('ol', { class: 'trail' }, shown.map((entry, i) =>
    h('li', { class: `src-${entry.source}`, key: `${entry.at} ${entry.source} ${entry.kind} ${entry.id} ${entry.status} ${i}` },
      h('div', { class: 'trail-time' }, clock(entry.at), h('small', { class: 'muted' }, `+${span((Date.parse(entry.at) - begin) / 1000)}`)),
      h('details', { class: 'trail-what', key: 'what' },
        h('summary', {}, h('span', { class: 'source' }, entry.source), h('b', {}, entryLink(entry)), entry.status ? pill(entry.status) : null,
          h('span', { class: 'muted' }, words(entry)), entry.detail?.error ? h('span', { class: 'error-text' }, plain(entry.detail.error)) : null),
        facts([['at', entry.at], ['id', entry.id], ...Object.entries(entry.detail ?? {}).map(([name, value]) => [name, value === null ? null : h('code', {}, plain(value))])])))))
    : empty('Nothing of that kind.', ''),
  entries.length >= 1000 ? h('p', { class: 'muted' }, 'The first 1,000 entries.') : null);
}

const address = (a) => [a.name, a.line1, a.line2, a.city, a.region, a.postal_code, a.country].filter(Boolean).join(', ');

export default {
  name: 'order',
  title: 'Order',
  every: 5000,
  init: (ctx) => { follow(`v1/orders/${encodeURIComponent(ctx.params.id)}/events`, () => ctx.reload(), ctx.signal); },
  async load(ctx, signal) {
    const path = `v1/admin/orders/${encodeURIComponent(ctx.params.id)}`;
    const [order, all] = await Promise.all([get(path, {}, signal), get(`${path}/trail`, {}, signal)]);
    return { order, entries: all.data };
  },
  view: (ctx, { order, entries }) => [
    head([h('span', { class: 'crumb' }, link('orders', 'Orders'), ' / '), `Order ${order.number}`], pill(order.status), link(`jobs?correlation_id=${order.id}`, 'Its jobs')),
    h('p', { class: 'idline' }, h('code', {}, order.id), copy(order.id)),
    stepper(order),
    order.reason_code || order.reason ? h('p', { class: 'alarm' }, h('b', {}, (order.reason_code ?? '').replaceAll('_', ' ')), order.reason ? ` ${order.reason}` : '') : null,
    h('div', { class: 'columns' },
      panel('Order', null, facts([
        ['Placed', exact(order.placed_at)], ['Confirmed', order.confirmed_at && exact(order.confirmed_at)], ['Cancelled', order.cancelled_at && exact(order.cancelled_at)],
        ['Last change', exact(order.updated_at)], ['E-mail', order.email], ['Reference', order.reference],
        ['Customer', order.customer_id ? h('code', {}, order.customer_id) : 'a guest'], ['To', address(order.shipping_address)], ['Version', number(order.version)],
      ])),
      panel('Money', null, facts([
        ['Total', money(order.total)], ['Subtotal', money(order.subtotal)],
        order.payment && ['Payment', pill(order.payment.status)], order.payment && ['Taken', money(order.payment.captured)],
        order.payment && ['Given back', money(order.payment.refunded)], ['Declined', order.payment?.decline_code?.replaceAll('_', ' ')],
      ])),
      panel('Lines', null, table('Lines', [
        { head: 'SKU', cell: (l) => h('code', {}, l.sku) }, { head: 'Name', wide: true, cell: (l) => l.name },
        { head: 'Pieces', num: true, cell: (l) => number(l.quantity) }, { head: 'Price', num: true, cell: (l) => money(l.unit_price) }, { head: 'Total', num: true, cell: (l) => money(l.total) },
      ], order.lines, (l) => l.position))),
    trail(ctx, entries),
  ],
};
