// Messages, questions and forms.

import { h } from './dom.js';
import { Problem } from './api.js';

/** What went wrong, in full: what the API says, which fields, and by which id its log has it. */
export function problemBox(problem) {
  const known = problem instanceof Problem;
  return h('div', { class: 'problem', role: 'alert' },
    h('strong', {}, known ? problem.title : 'The console met an error'),
    known ? (problem.detail ? h('p', {}, problem.detail) : null) : h('p', {}, String(problem?.message ?? problem)),
    known && problem.errors.length
      ? h('ul', {}, problem.errors.map((e) => h('li', {}, h('code', {}, e.field), ' ', e.message))) : null,
    known && problem.retryAfter ? h('p', {}, `Try again in ${problem.retryAfter} s.`) : null,
    known && problem.requestId ? h('p', { class: 'request-id' }, 'Request ', h('code', {}, problem.requestId)) : null);
}

/** Says something for a while. */
export function toast(...content) {
  show(h('div', { class: 'toast good' }, h('div', {}, ...content)), 6000);
}

/** Says that something went wrong, until it is put away. */
export function complain(problem) {
  if (problem?.name === 'AbortError' || problem?.status === 401) return;
  show(h('div', { class: 'toast bad' }, problemBox(problem)), 30_000);
}

function show(note, milliseconds) {
  const gone = () => note.remove();
  note.append(h('button', { type: 'button', class: 'close', 'aria-label': 'Put away', onclick: gone }, '×'));
  document.getElementById('toasts').append(note);
  setTimeout(gone, milliseconds);
}

/**
 * Asks. Answers with what was filled in, or null if it was called off. `fields` are `{ name, label, type, value, hint,
 * options, required, min, max, step, rows, placeholder, size }`. With `act(values)` the dialog stays open until that has gone well, and shows
 * what went wrong.
 */
export function ask({ title, text = [], fields = [], confirm = 'OK', danger = false, cancel = true, act }) {
  return new Promise((resolve) => {
    const errors = h('div', {});
    const yes = h('button', { class: `button ${danger ? 'danger' : 'primary'}`, value: 'yes' }, confirm);
    const no = h('button', { class: 'button', type: 'button', onclick: () => dialog.close() }, 'Cancel');
    let answer = null;
    const form = h('form', {
      onsubmit: async (event) => {
        event.preventDefault();
        const values = read(form, fields);
        if (act) {
          yes.disabled = true;
          errors.replaceChildren();
          try {
            answer = (await act(values)) ?? values;
          } catch (problem) {
            errors.replaceChildren(problemBox(problem));
            return;
          } finally {
            yes.disabled = false;
          }
        } else answer = values;
        dialog.close();
      },
    },
      h('h2', { id: 'dialog-title' }, title), [text].flat().map((line) => (line instanceof Node ? line : h('p', {}, line))),
      h('div', { class: 'fields' }, fields.map(field)), errors, h('div', { class: 'dialog-actions' }, cancel ? no : null, yes));
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); resolve(answer); } }, form);
    document.body.append(dialog);
    dialog.showModal();
    // A question that destroys something is not answered by a key pressed twice.
    (danger && !fields.length ? no : (form.querySelector('input, select, textarea') ?? yes)).focus();
  });
}

let fresh = 0;

function field(f) {
  const id = `field-${(fresh += 1)}`;
  const common = {
    id, name: f.name, required: f.required, placeholder: f.placeholder, 'aria-describedby': f.hint ? `${id}-hint` : undefined,
  };
  let input;
  if (f.options) {
    input = h('select', { ...common, value: f.value }, f.options.map(([value, label]) => h('option', { value }, label ?? value)));
  } else if (f.type === 'textarea') {
    input = h('textarea', { ...common, rows: f.rows ?? 5, spellcheck: 'false', value: f.value ?? '' });
  } else if (f.type === 'checkbox') {
    return h('div', { class: `field check ${f.size ?? ''}` }, h('input', { ...common, type: 'checkbox', checked: Boolean(f.value) }), h('label', { for: id }, f.label));
  } else {
    input = h('input', {
      ...common, type: f.type ?? 'text', min: f.min, max: f.max, step: f.step, value: f.value ?? '', autocomplete: 'off', list: f.list,
      readonly: f.readonly, maxlength: f.maxlength, pattern: f.pattern,
    });
  }
  return h('div', { class: `field ${f.size ?? ''}` }, h('label', { for: id }, f.label), input, f.hint ? h('p', { class: 'hint', id: `${id}-hint` }, f.hint) : null);
}

function read(form, fields) {
  return Object.fromEntries(fields.map((f) => {
    const input = form.elements[f.name];
    if (f.type === 'checkbox') return [f.name, input.checked];
    const text = input.value.trim();
    if (f.type === 'number') return [f.name, text === '' ? null : Number(text)];
    return [f.name, text];
  }));
}

/** Does something that changes the system; tells how it went. Answers whether it went well. */
export async function attempt(work, said) {
  try {
    const result = await work();
    if (said) toast(...[typeof said === 'function' ? said(result) : said].flat());
    return true;
  } catch (problem) {
    complain(problem);
    return false;
  }
}
