// Orders: found by number, id or the buyer's reference.

import { h } from '../dom.js';
import { get } from '../api.js';
import { money, when } from '../format.js';
import { empty, head, link, pager, pill, table } from '../ui.js';
import { complain, toast } from '../dialogs.js';
import * as filters from '../filters.js';

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const STATUSES = ['pending', 'confirmed', 'processing', 'shipped', 'delivered', 'cancelled', 'refunded'];

async function find(ctx, text) {
  if (ID.test(text)) {
    location.hash = `#/orders/${text}`;
    return;
  }
  try {
    const number = /^#?(\d{1,18})$/.exec(text)?.[1];
    const byNumber = number ? (await get('v1/admin/orders', { number, limit: 2 })).data : [];
    // Older versions of the API list all whatever the number is.
    const hit = byNumber.find((order) => String(order.number) === number);
    if (hit) location.hash = `#/orders/${hit.id}`;
    else if ((await get('v1/admin/orders', { reference: text, limit: 1 })).data.length) filters.set(ctx, { reference: text });
    else toast(`No order has the number or reference “${text}”.`);
  } catch (problem) {
    complain(problem);
  }
}

export default {
  name: 'orders',
  title: 'Orders',
  every: 4000,
  load: (ctx, signal) => get('v1/admin/orders', {
    status: ctx.query.get('state'), reference: ctx.query.get('reference'), customer_id: ctx.query.get('customer_id'), cursor: ctx.query.get('cursor'), limit: 50,
  }, signal),
  view: (ctx, page) => [
    head('Orders'),
    h('form', {
      class: 'finder', role: 'search',
      onsubmit: (event) => { event.preventDefault(); find(ctx, event.target.elements.what.value.trim()); },
    },
      h('input', { name: 'what', type: 'search', 'aria-label': 'Number, id or reference of an order', placeholder: 'Number, id or the buyer’s reference', 'data-search': true, required: true, autocomplete: 'off' }),
      h('button', { class: 'button primary' }, 'Find')),
    h('div', { class: 'filters' },
      filters.select(ctx, 'state', 'Status', [['', 'Any status'], ...STATUSES.map((status) => [status])]),
      filters.text(ctx, 'customer_id', 'Customer', { placeholder: 'id' }),
      ctx.query.get('reference') ? filters.text(ctx, 'reference', 'Reference') : null, filters.clear(ctx)),
    table('Orders', [
      { head: 'Number', cell: (o) => link(`orders/${o.id}`, o.number) },
      { head: 'Status', cell: (o) => pill(o.status) },
      { head: 'Step', cell: (o) => o.step },
      { head: 'Why', wide: true, cell: (o) => (o.reason || o.reason_code ? h('span', { title: o.reason }, (o.reason_code ?? o.reason).replaceAll('_', ' ')) : '–') },
      { head: 'Total', num: true, cell: (o) => money(o.total) },
      { head: 'Payment', cell: (o) => (o.payment ? pill(o.payment.status) : '–') },
      { head: 'E-mail', cell: (o) => o.email },
      { head: 'Placed', cell: (o) => when(o.placed_at) },
    ], page.data, (o) => o.id, empty('No order is like that.', ctx.query.size ? h('a', { href: '#/orders' }, 'See all') : 'They come with the first checkout.')),
    pager(ctx, page.next_cursor),
  ],
};
