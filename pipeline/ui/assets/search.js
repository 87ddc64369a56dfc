'use strict';
// Asks /v1/search as any client does, and beside it for the exact answer. All text of rows is set as text.
(() => {
  const ask = document.getElementById('ask');
  const index = JSON.parse(ask.dataset.index);
  const form = document.getElementById('query');
  const field = form.elements;
  const base = document.body.dataset.base;
  const api = '/v1' + base + '/search';
  const $ = id => document.getElementById(id);
  const dim = index.ladder.at(-1);
  let running = new AbortController();
  let timer;

  const text = (tag, content, cls) => {
    const e = document.createElement(tag);
    e.textContent = content;
    if (cls) e.className = cls;
    return e;
  };
  const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');

  // --- the filter ---
  const words = { $eq: '=', $ne: '\u2260', $in: 'one of', $nin: 'none of', $gt: '>', $gte: '\u2265', $lt: '<', $lte: '\u2264', $prefix: 'starts with', $exists: 'exists' };
  const ordered = ['$eq', '$ne', '$gt', '$gte', '$lt', '$lte', '$in', '$nin', '$exists'];
  const operators = { utf8: ['$eq', '$ne', '$prefix', '$in', '$nin', '$gt', '$gte', '$lt', '$lte', '$exists'], bool: ['$eq', '$ne', '$exists'], int64: ordered, float64: ordered, timestamp: ordered };
  const option = (value, label) => { const o = text('option', label); o.value = value; return o; };

  const addCondition = () => {
    const row = text('div', '', 'condition');
    const name = document.createElement('select');
    name.setAttribute('aria-label', 'Attribute');
    for (const a of index.attributes) name.append(option(a.name, a.name));
    const op = document.createElement('select');
    op.setAttribute('aria-label', 'Comparison');
    const place = document.createElement('span');
    const remove = text('button', '\u00d7');
    remove.type = 'button';
    remove.setAttribute('aria-label', 'Remove condition');
    const typeOf = () => index.attributes.find(a => a.name === name.value).type;
    const choose = () => {
      const choice = (...values) => { const s = document.createElement('select'); s.append(...values.map(v => option(v, v))); return s; };
      let value;
      const many = op.value === '$in' || op.value === '$nin';
      if (op.value === '$exists') value = choice('true', 'false');
      else if (typeOf() === 'bool') value = choice('true', 'false');
      else {
        value = document.createElement('input');
        value.type = typeOf() === 'timestamp' && !many ? 'datetime-local' : 'text';
        if (value.type === 'datetime-local') value.step = 1;
        if (typeOf() === 'int64' || typeOf() === 'float64') value.inputMode = 'decimal';
        value.placeholder = many ? 'a, b, c' : typeOf();
      }
      value.setAttribute('aria-label', 'Value');
      value.className = 'value';
      place.replaceChildren(value);
    };
    const operate = () => { op.replaceChildren(...operators[typeOf()].map(o => option(o, words[o]))); choose(); };
    name.onchange = operate;
    op.onchange = choose;
    remove.onclick = () => { row.remove(); $('joined').hidden = document.querySelectorAll('.condition').length < 2; later(); };
    operate();
    row.append(name, op, place, remove);
    row.condition = () => ({ name: name.value, type: typeOf(), op: op.value, value: place.firstChild.value });
    $('conditions').append(row);
    $('joined').hidden = document.querySelectorAll('.condition').length < 2;
    name.focus();
  };

  // A value is written as the type of its attribute has it: integers with all their digits, which numbers of scripts have not.
  const literal = (c, raw) => {
    const v = raw.trim();
    switch (c.type) {
      case 'int64': if (/^-?\d+$/.test(v)) return v; break;
      case 'float64': if (v !== '' && Number.isFinite(Number(v))) return String(Number(v)); break;
      case 'bool': return v;
      case 'timestamp': if (v !== '') return JSON.stringify(/Z|[+-]\d\d:\d\d$/.test(v) ? v : (v.length === 16 ? v + ':00' : v) + 'Z'); break;
      default: return JSON.stringify(raw);
    }
    throw new Error(c.name + ': ' + (v || 'nothing') + ' is not of type ' + c.type);
  };
  const conditionText = c => {
    let value;
    if (c.op === '$exists') value = c.value;
    else if (c.op === '$in' || c.op === '$nin') value = '[' + c.value.split(',').map(v => literal(c, v.trim())).join(',') + ']';
    else value = literal(c, c.value);
    return '{' + JSON.stringify(c.name) + ':{' + JSON.stringify(c.op) + ':' + value + '}}';
  };
  const filterText = () => {
    const all = [...document.querySelectorAll('.condition')].map(row => conditionText(row.condition()));
    if (all.length === 0) return '';
    return all.length === 1 ? all[0] : '{' + JSON.stringify($('join').value) + ':[' + all.join(',') + ']}';
  };

  // --- the request ---
  const numbers = raw => {
    const values = raw.replace(/[[\]]/g, ' ').split(/[\s,;]+/).filter(Boolean).map(Number);
    if (values.some(v => !Number.isFinite(v))) throw new Error('vector: has something that is not a number');
    if (values.length !== dim) throw new Error('vector: ' + values.length + ' numbers, allowed: ' + dim);
    return values;
  };
  const request = exact => {
    const r = {};
    if (field.kind.value === 'like') r.like = field.like.value; else r.vector = numbers(field.vector.value);
    r.k = Number(field.k.value);
    if (exact || field.how.value === 'exact') r.exact = true;
    else if (field.how.value === 'budget') r.budget = { microseconds: Number(field.budget.value) };
    else if (field.how.value === 'plan') r.plan = { nprobe: Number(field.nprobe.value), refine: Number(field.refine.value) };
    else if (!(field.how.value === 'target_recall' && Number(field.target_recall.value) === index.target)) r[field.how.value] = Number(field[field.how.value].value);
    if (!exact && field.dims.value) r.dims = Number(field.dims.value);
    const filter = filterText();
    const body = JSON.stringify(r);
    return filter ? body.slice(0, -1) + ',"filter":' + filter + '}' : body;
  };
  const post = async body => {
    const answer = await fetch(api, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body, signal: running.signal });
    const said = await answer.json();
    if (!answer.ok) throw new Error([said.detail || said.title, said.allowed && 'allowed: ' + said.allowed].filter(Boolean).join('; '));
    return said;
  };

  // --- the answer ---
  const value = (v, a) => v === null ? '\u2013' : a.type === 'timestamp' ? v.slice(0, 16).replace('T', ' ') : String(v);
  const table = (title, hits, mark) => {
    const t = document.createElement('table');
    t.append(text('caption', title));
    const first = a => ['utf8', 'bool', 'int64', 'float64', 'timestamp'].indexOf(a.type);
    const shown = index.attributes.toSorted((a, b) => first(a) - first(b)).slice(0, $('beside').checked ? 3 : 6);
    const side = a => a.type === 'int64' || a.type === 'float64' ? 'r' : '';
    const head = t.createTHead().insertRow();
    for (const [n, cls] of [['#', 'r'], ['ID', ''], ['Score', 'r'], ...shown.map(a => [a.name, side(a)])]) { const th = text('th', n, cls); th.scope = 'col'; head.append(th); }
    const body = t.createTBody();
    hits.forEach((h, i) => {
      const row = body.insertRow();
      if (mark && mark.has(h.id)) { row.className = 'missed'; row.title = mark.why; }
      row.append(text('td', i + 1, 'r dim'));
      const cell = row.insertCell();
      const link = text('a', h.id);
      link.href = base + '/ui/search?like=' + encodeURIComponent(h.id);
      link.title = h.id;
      cell.append(link);
      if (mark && mark.has(h.id)) cell.append(text('span', mark.word, 'tag bad'));
      row.append(text('td', h.score.toFixed(4), 'r'));
      for (const a of shown) { const v = h.attributes?.[a.name] ?? null, c = text('td', value(v, a), side(a)); c.title = String(v); row.append(c); }
    });
    const box = text('div', '', 'scroll');
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', title);
    box.append(t);
    return box;
  };
  const marked = (ids, word, why) => Object.assign(new Set(ids), { word, why });
  const stage = (name, content) => { document.querySelector('[data-stage=' + name + ']').textContent = content; };
  const show = (asked, exact) => {
    const u = asked.usage;
    stage('lists_probed', count(u.lists_probed));
    stage('codes_scanned', count(u.codes_scanned));
    stage('refined', count(u.refined));
    stage('microseconds', u.microseconds < 10000 ? count(u.microseconds) + '\u202f\u00b5s' : (u.microseconds / 1000).toFixed(0) + '\u202fms');
    const parts = [];
    if (u.plan) parts.push('plan: ' + u.plan.nprobe + ' lists, ' + u.plan.scan_dims + ' dimensions scanned, ' + u.plan.refine + ' refined' + (u.plan.originals ? ', originals decide' : ''));
    else parts.push('all rows compared');
    if (u.matching !== undefined) parts.push(count(u.matching) + ' rows match the filter');
    if (asked.expected_recall !== undefined) parts.push('expected recall@10 ' + asked.expected_recall.toFixed(3));
    if (asked.degraded) parts.push('degraded: ' + asked.degraded);
    parts.push('generation ' + count(asked.snapshot.generation));
    const sum = $('sum');
    sum.className = 'sum';
    sum.replaceChildren(text('span', parts.join(' \u00b7 ')));
    const sides = $('sides');
    sides.classList.toggle('alone', !exact);
    if (!exact) { sides.replaceChildren(table('Answer', asked.hits)); return; }
    const ours = asked.hits.map(h => h.id), theirs = exact.hits.map(h => h.id);
    const both = ours.filter(id => theirs.includes(id)).length;
    sum.prepend(text('b', both + ' of ' + theirs.length + ' match the exact answer', both === theirs.length ? 'good' : 'warn'), ' \u00b7 ');
    sides.replaceChildren(
      table((u.plan ? 'Approximate, ' : 'Answer, ') + count(u.microseconds) + '\u202f\u00b5s', asked.hits, marked(ours.filter(id => !theirs.includes(id)), 'not exact', 'Not in the exact answer.')),
      table('Exact, ' + count(exact.usage.microseconds) + '\u202f\u00b5s', exact.hits, marked(theirs.filter(id => !ours.includes(id)), 'missed', 'In the exact answer only.')));
  };
  const fail = why => {
    const sum = $('sum');
    sum.className = 'sum';
    sum.replaceChildren(text('b', why.message, 'bad'));
    $('sides').replaceChildren();
  };

  const search = async () => {
    clearTimeout(timer);
    if (field.kind.value === 'like' ? !field.like.value : !field.vector.value) return;
    running.abort();
    running = new AbortController();
    const mine = running;
    try {
      const body = request(false);
      $('request').hidden = false;
      $('curl').textContent = 'curl -s ' + location.origin + api + " -d '" + body.replaceAll("'", "'\\''") + "'";
      const [asked, exact] = await Promise.all([post(body), $('beside').checked && field.how.value !== 'exact' ? post(request(true)) : null]);
      if (mine === running) show(asked, exact);
    } catch (why) {
      if (mine === running && why.name !== 'AbortError') fail(why);
    }
  };
  // Knobs answer while they are turned.
  const later = () => { clearTimeout(timer); timer = setTimeout(search, 200); };

  const arrange = () => {
    for (const e of document.querySelectorAll('[data-kind]')) e.hidden = e.dataset.kind !== field.kind.value;
    for (const e of document.querySelectorAll('[data-how]')) e.hidden = e.dataset.how !== field.how.value;
    for (const name of ['target_recall', 'effort']) $(name + '_out').textContent = field[name].value;
  };
  form.addEventListener('submit', e => { e.preventDefault(); search(); });
  form.addEventListener('input', () => { arrange(); later(); });
  $('add')?.addEventListener('click', addCondition);
  $('copy').onclick = () => navigator.clipboard?.writeText($('curl').textContent).catch(() => {});
  arrange();
  search();
})();
