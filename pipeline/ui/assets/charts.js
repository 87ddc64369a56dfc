'use strict';
// The live charts of the overview: the samples that the node keeps, asked for as they come.
(() => {
  const box = document.getElementById('charts');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const keep = 720;
  const least = 120; // seconds that are in view from the beginning
  const seen = { at: [], fresh: [], recall: [], p50: [], p99: [], searches: [] };
  let plots = [];

  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const read = async () => {
    const after = seen.at.at(-1) ?? 0;
    const answer = await fetch(box.dataset.series + '?after=' + after);
    if (!answer.ok) return;
    const columns = await answer.json();
    for (const name in seen) seen[name] = seen[name].concat(columns[name]).slice(-keep);
  };
  const clock = (t, end) => new Date(t * 1000).toISOString().slice(11, end);
  const data = plot => [seen.at, ...plot.dataset.columns.split(' ').map(name => seen[name])];
  // Recall has its objective in view; everything else begins at 0.
  const range = (plot, low, high) => {
    if (plot.dataset.columns !== 'recall') return [0, (high || 1) * 1.15];
    const objective = Number(box.dataset.objective);
    return [Math.max(0, Math.min(low ?? objective, objective) - 0.02), 1];
  };
  const options = plot => {
    const axis = { stroke: color('--dim'), grid: { stroke: color('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const colors = [color('--accent'), color('--second')];
    return {
      width: plot.clientWidth, height: plot.clientHeight, legend: { show: false }, padding: [8, 24, 0, 0],
      cursor: { sync: { key: 'overview' }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { range: (u, low, high) => [Math.min(low ?? high, (high ?? 0) - least), high] }, y: { range: (u, low, high) => range(plot, low, high) } },
      axes: [
        { ...axis, size: 22, space: 80, values: (u, at) => at.map(t => clock(t, u.scales.x.max - u.scales.x.min < 900 ? 19 : 16)) },
        { ...axis, size: 42, space: 26 },
      ],
      series: [{}, ...plot.dataset.columns.split(' ').map((name, i) => ({ label: name, stroke: colors[i], width: 1.5, points: { show: false } }))],
      hooks: { setCursor: [u => tell(plot, u.cursor.idx)] },
    };
  };
  // The value under the pointer stands in the caption, so that nothing moves.
  const tell = (plot, i) => {
    const caption = plot.previousElementSibling;
    caption.dataset.name ??= caption.textContent;
    const values = i == null ? [] : data(plot).slice(1).map(c => c[i]).filter(v => v != null).map(v => v.toPrecision(3));
    caption.textContent = caption.dataset.name + (values.length ? ' \u2014 ' + values.join(', ') + ' at ' + clock(seen.at[i], 19) : '');
  };
  const draw = () => {
    for (const p of plots) p.destroy();
    plots = [...box.querySelectorAll('.plot')].map(plot => new uPlot(options(plot), data(plot), plot));
  };
  const refresh = async () => {
    if (document.hidden) return;
    try { await read(); } catch { return; } // the page says that the node does not answer
    plots.forEach((p, i) => p.setData(data(box.querySelectorAll('.plot')[i])));
  };

  read().catch(() => {}).then(draw);
  setInterval(refresh, 5000);
  dark.addEventListener('change', draw);
  new ResizeObserver(() => plots.forEach((p, i) => {
    const plot = box.querySelectorAll('.plot')[i];
    p.setSize({ width: plot.clientWidth, height: plot.clientHeight });
  })).observe(box);
})();
