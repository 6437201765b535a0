// Tooltips and the time slider. The page shows everything without it.
'use strict';
(() => {
  const root = document.documentElement;
  const errors = [];
  addEventListener('error', (event) => { errors.push(event.message); root.dataset.errors = errors.join('; '); });

  const number = (value) => {
    const units = ['', 'k', 'M', 'G', 'T'];
    let unit = 0;
    while (Math.abs(value) >= 999.5 && unit < 4) { value /= 1000; ++unit; }
    return (Math.abs(value) >= 100 ? value.toFixed(0) : +value.toPrecision(3)) + units[unit];
  };
  const bytes = (value) => {
    if (value === 0) return '0';
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    while (value >= 1023.5 && unit < 4) { value /= 1024; ++unit; }
    return +value.toPrecision(3) + ' ' + units[unit];
  };
  const seconds = (value) => value.toFixed(2) + ' s';

  const tip = document.createElement('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.append(tip);
  const show_tip = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const x = event.clientX + 14, y = event.clientY + 14;
    tip.style.left = Math.max(4, Math.min(x, innerWidth - tip.offsetWidth - 4)) + 'px';
    tip.style.top = (y + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : y) + 'px';
  };

  // Index of the last time at or before `time`.
  const at_or_before = (times, time) => {
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= time) low = middle; else high = middle - 1;
    }
    return low;
  };

  // A line through a plot that follows the pointer; `text` gets places from 0 to 1, from the bottom left.
  const follow = (plot, text) => {
    const cursor = document.createElement('div');
    cursor.className = 'cursor hover';
    cursor.hidden = true;
    plot.append(cursor);
    plot.addEventListener('pointermove', (event) => {
      const box = plot.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = 1 - (event.clientY - box.top) / box.height;
      const inside = x >= 0 && x <= 1 && y >= 0 && y <= 1;
      cursor.hidden = tip.hidden = !inside;
      if (!inside) return;
      cursor.style.left = 100 * x + '%';
      show_tip(event, text(x, y));
    });
    plot.addEventListener('pointerleave', () => { cursor.hidden = tip.hidden = true; });
  };

  const lines_chart = (figure, data) => {
    const end = data.x[data.x.length - 1];
    const show = data.unit === 'bytes' ? bytes : (value) => number(value) + data.unit;
    follow(figure.querySelector('.plot'), (x) => {
      const i = at_or_before(data.x, x * end);
      return [seconds(data.x[i]), ...data.lines.map((line) => line.name + ': ' + show(line.y[i]))].join('\n');
    });
  };

  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_';
  const memory_map = (figure, data) => {
    const plot = figure.querySelector('.plot');
    const times = data.steps.map((step) => step.t);
    const end = times[times.length - 1];
    const address_of = (offset) => {
      for (const [start, size] of data.ranges) {
        if (offset < size) return start + offset;
        offset -= size;
      }
      return 0;
    };
    follow(plot, (x, y) => {
      const step = data.steps[at_or_before(times, x * end)];
      const row = Math.min(data.rows - 1, Math.floor(y * data.rows));
      const shares = Object.entries(step.shares)
        .map(([state, text]) => [digits.indexOf(text[row]) / 63, data.states[state]])
        .filter(([share]) => share > 0).sort((a, b) => b[0] - a[0])
        .map(([share, name]) => Math.round(100 * share) + ' % ' + name);
      const from = address_of(row / data.rows * data.bytes);
      return [seconds(step.t) + ', from ' + bytes(from), ...shares, step.vmas + (step.vmas === 1 ? ' VMA' : ' VMAs')].join('\n');
    });

    const slider = figure.querySelector('input');
    const label = figure.querySelector('output.at');
    const cursor = document.createElement('div');
    cursor.className = 'cursor';
    plot.append(cursor);
    const move = () => {
      const step = data.steps[slider.value];
      cursor.style.left = 100 * step.t / end + '%';
      label.textContent = seconds(step.t);
      for (const output of figure.querySelectorAll('output[data-state]'))
        output.textContent = bytes(4096 * step.sums[output.dataset.state]);
    };
    slider.addEventListener('input', move);
    move();
  };

  for (const figure of document.querySelectorAll('figure')) {
    const text = figure.querySelector('script');
    if (text) (figure.classList.contains('memory-map') ? memory_map : lines_chart)(figure, JSON.parse(text.textContent));
  }
  root.classList.add('scripted');

  // For the browser test: what is on the page, and how large. In a frame it goes to the page around it.
  if (location.hash === '#check') {
    const sizes = {};
    for (const element of document.querySelectorAll('[data-check]')) {
      const box = (element.querySelector(':scope > .plot > svg') || element).getBoundingClientRect();
      sizes[element.id] = [Math.round(box.width), Math.round(box.height)];
    }
    root.dataset.check = JSON.stringify({
      sizes, width: innerWidth, content: root.scrollWidth, charts: document.querySelectorAll('.plot > svg').length, errors,
      dark: matchMedia('(prefers-color-scheme: dark)').matches,
    });
    if (parent !== window) parent.postMessage(root.dataset.check, '*');
  }
  root.dataset.ready = 'yes';
})();
