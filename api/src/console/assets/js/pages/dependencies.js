// What jobs need from outside, and whether it answers.

import { h } from '../dom.js';
import { get, post } from '../api.js';
import { exact, number, when } from '../format.js';
import { button, empty, head, jobLink, pill, table } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';

const path = (name, what) => `v1/admin/system/dependencies/${encodeURIComponent(name)}/${what}`;

const down = (ctx, name = '') =>
  ask({
    title: name ? `Say that ${name} is down` : 'Say that something is down',
    text: 'Jobs that need it wait and spend no attempts; after the time one of them may try. Workers find out by themselves what does not answer: this is for what you know beforehand.',
    fields: [
      { name: 'name', label: 'Name', value: name, required: true, placeholder: 'gateway.sandbox, mail_server', readonly: Boolean(name), maxlength: 100 },
      { name: 'for_seconds', label: 'For so many seconds', type: 'number', min: 1, max: 86400, value: 900 },
      { name: 'reason', label: 'Reason, for the others', placeholder: 'maintenance until six', maxlength: 500 },
    ],
    confirm: 'It is down',
    danger: true,
    act: async (values) => {
      await post(path(values.name, 'down'), { for_seconds: values.for_seconds ?? undefined, reason: values.reason });
      toast(`Jobs that need ${values.name} wait.`);
      ctx.reload();
    },
  });

const up = (ctx, name) => attempt(() => post(path(name, 'up')), `All that waited for ${name} goes on.`).then(() => ctx.reload());

export default {
  name: 'dependencies',
  title: 'Dependencies',
  every: 4000,
  load: async (_, signal) => (await get('v1/admin/system/dependencies', {}, signal)).data,
  view: (ctx, list) => [
    head('Dependencies', button('Say that one is down…', () => down(ctx))),
    table('Dependencies', [
      { head: 'Name', cell: (d) => h('b', {}, d.name) },
      { head: 'State', cell: (d) => pill(d.down ? 'down' : 'up') },
      { head: 'Jobs that wait', num: true, cell: (d) => number(d.waiting) },
      { head: 'Since', cell: (d) => (d.down_since ? exact(d.down_since) : '–') },
      { head: 'One may try', cell: (d) => (d.down_until ? when(d.down_until) : '–') },
      { head: 'Tried by', cell: (d) => (d.probe_job_id ? jobLink(d.probe_job_id) : '–') },
      { head: 'Why', wide: true, cell: (d) => d.reason ?? '–' },
      { head: 'Actions', cell: (d) => h('div', { class: 'row-actions' }, d.down ? button('It is up again', () => up(ctx, d.name), { kind: 'primary' }) : button('It is down…', () => down(ctx, d.name))) },
    ], list, (d) => d.name, empty('Nothing was ever down.', 'Payment gateways and the mail server come here once they do not answer; or say so beforehand.')),
  ],
};
