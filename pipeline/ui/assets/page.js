'use strict';
// Pages are made by the node; this refreshes them while somebody looks, copies commands, and sends what an operator confirms.
(() => {
  const every = 5000;
  const clock = document.getElementById('clock');
  const stamp = document.getElementById('stamp');

  setInterval(() => {
    if (!document.hidden && document.querySelector('[data-live]')) htmx.trigger(document.body, 'refresh');
  }, every);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && document.querySelector('[data-live]')) htmx.trigger(document.body, 'refresh');
  });

  let late = 0;
  const told = ok => {
    late = ok ? 0 : late + 1;
    clock.classList.toggle('lost', late > 1);
    clock.title = late > 1 ? 'The node does not answer; this is its last response.' : '';
    if (ok) stamp.textContent = new Date().toISOString().slice(11, 19);
  };
  document.addEventListener('htmx:after:request', e => told(e.detail?.ctx?.response?.raw?.ok ?? true));
  document.addEventListener('htmx:after:swap', () => {
    const title = document.querySelector('[data-live]')?.dataset.title;
    if (title) document.title = title + document.title.slice(document.title.indexOf(' \u00b7 '));
  });
  document.addEventListener('htmx:response:error', () => told(false));
  document.addEventListener('htmx:error', () => told(false));

  document.addEventListener('click', async e => {
    const copy = e.target.closest('[data-copy]');
    if (copy) {
      const label = copy.dataset.label ??= copy.textContent;
      try {
        await navigator.clipboard.writeText(copy.dataset.copy);
        copy.textContent = 'Copied';
      } catch { // not allowed without TLS
        prompt('Copy', copy.dataset.copy);
      }
      setTimeout(() => { copy.textContent = label; }, 2000);
      return;
    }
    const move = e.target.closest('[data-verb]');
    if (move) ask(move);
  });

  // The token goes from the field into one request, and is kept nowhere.
  const ask = button => {
    const dialog = document.getElementById('confirm');
    const outcome = dialog.querySelector('.outcome');
    dialog.querySelector('h2').textContent = button.dataset.title;
    dialog.querySelector('.explain').textContent = button.dataset.explain;
    outcome.textContent = '';
    const form = dialog.querySelector('form');
    form.reset();
    form.onsubmit = async e => {
      e.preventDefault();
      const send = form.querySelector('[type=submit]');
      send.disabled = true;
      outcome.className = 'outcome';
      outcome.textContent = 'Sending';
      try {
        const token = form.elements.token.value.trim();
        const body = { verb: button.dataset.verb, reason: form.elements.reason.value };
        if (button.dataset.generation) body.generation = Number(button.dataset.generation);
        const answer = await fetch('/v1/admin' + document.body.dataset.base + '/channel', {
          method: 'POST', cache: 'no-store',
          headers: { 'Content-Type': 'application/json', ...(token && { Authorization: 'Bearer ' + token }) },
          body: JSON.stringify(body),
        });
        const said = await answer.json().catch(() => ({}));
        if (!answer.ok) throw new Error([said.detail ?? said.title ?? 'status ' + answer.status, said.allowed && 'allowed: ' + said.allowed].filter(Boolean).join('; '));
        outcome.classList.add('good');
        outcome.textContent = 'Done: channel record ' + said.serving.sequence + '. The node follows within a second.';
        setTimeout(() => htmx.trigger(document.body, 'refresh'), 1000);
      } catch (why) {
        outcome.classList.add('bad');
        outcome.textContent = why.message;
      } finally {
        form.elements.token.value = '';
        send.disabled = false;
      }
    };
    dialog.querySelector('[data-close]').onclick = () => dialog.close();
    dialog.onclose = () => { form.reset(); button.focus(); };
    dialog.showModal();
  };
})();
