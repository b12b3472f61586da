"""Run the main notebooks in JupyterLab as a reader does, in a browser, and move every slider in them. `make lab-test` calls this.

    lab.py [NOTEBOOK ...]     others than those below

Everything happens in a copy. A notebook fails if a cell does, or if a picture stays the same when its slider is moved by the keyboard.
"""
import os
ENV = dict(os.environ)      # as make sets it for `make lab`; notebooks.py changes it
import argparse, json, shutil, socket, subprocess, sys, tempfile, time
from pathlib import Path
from browser import Browser, find_browser
from notebooks import ROOT, WIDGET, directives, nbformat, why_not_run

NOTEBOOKS = ('1_core/04_figures', '3_flows/01_transforms', '3_flows/04_coupling', '4_prototypes/02_mixture', '4_prototypes/06_protoflow', '5_training/05_learner',
             '6_interpretation/01_prototypes', '6_interpretation/04_explanations', '7_apps/03_explorers', '0_tour/02_digits')
SECONDS = 600       # that a notebook may take
ERRORS = '''(() => { const cells = lab_notebook.content.model.cells, out = [];
  for (let i = 0; i < cells.length; i++) { const c = cells.get(i); if (c.type !== 'code') continue;
    for (const o of c.toJSON().outputs) if (o.output_type === 'error') out.push(`${c.id}: ${o.ename}: ${o.evalue}`); }
  return out; })()'''
WAITING = '''(() => { const cells = lab_notebook.content.model.cells, k = lab_notebook.sessionContext.session?.kernel; let n = 0;
  for (let i = 0; i < cells.length; i++) { const c = cells.get(i); if (c.type === 'code' && c.sharedModel.getSource().trim() && !c.executionCount) n++; }
  return k && k.status === 'idle' ? n : -1; })()'''
PICTURES = '''(async () => { const out = [];
  for (const e of lab_cell.node.querySelectorAll('.jp-OutputArea img, .jp-OutputArea canvas')) {
    if (e.tagName === 'CANVAS') { out.push(e.toDataURL()); continue; }
    const data = new Uint8Array(await (await fetch(e.src)).arrayBuffer()); let h = 0;
    for (const v of data) h = (h*31 + v) | 0;
    out.push(`${data.length} ${h}`);
  }
  return out.join(); })()'''


def prepare(folder, names):
    "Copies of the notebooks without outputs, and without cells that have a flag or export; the paths in the copy."
    shutil.copytree(ROOT/'nbs', folder/'nbs', ignore=shutil.ignore_patterns('*.ipynb', '.ipynb_checkpoints', '__pycache__'))
    for name in names:
        source = ROOT/'nbs'/f'{name}.ipynb'
        nb = nbformat.read(source, 4)
        for i, (cell, said) in enumerate(zip(nb.cells, directives(source))):
            if cell.cell_type != 'code': continue
            cell.outputs, cell.execution_count = [], None
            if why_not_run(said, ()) or 'nbdev_export(' in cell.source: nb.cells[i] = nbformat.v4.new_raw_cell(cell.source, id=cell.id)
        copy = folder/'nbs'/f'{name}.ipynb'
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, copy)


class Lab:
    "JupyterLab of this environment on a folder, on a free port; a context manager."
    def __init__(self, folder): self.folder = folder

    def __enter__(self):
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
        state = {'JUPYTERLAB_WORKSPACES_DIR': f'{self.folder}/workspaces', 'JUPYTERLAB_SETTINGS_DIR': f'{self.folder}/settings', 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        options = ['--no-browser', f'--ServerApp.port={port}', '--ServerApp.port_retries=0', '--IdentityProvider.token=', '--LabApp.expose_app_in_browser=True',
                   '--LabApp.news_url=', f'--ServerApp.root_dir={self.folder}/nbs'] + (['--allow-root'] if os.geteuid() == 0 else [])
        self.log = open(self.folder/'lab.log', 'w+')
        self.process = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *options], cwd=self.folder, env=ENV | state, stdout=self.log, stderr=self.log)
        self.address = f'http://127.0.0.1:{port}/lab'
        for _ in range(600):
            if self.process.poll() is not None: break
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', port)) == 0: return self
            time.sleep(0.2)
        self.log.seek(0)
        raise RuntimeError('JupyterLab did not start:\n' + self.log.read()[-3000:])

    def __exit__(self, *error):
        self.process.terminate()
        try: self.process.wait(30)
        except subprocess.TimeoutExpired: self.process.kill(); self.process.wait()
        self.log.close()


def run_all(browser, path):
    "Open a notebook and run all its cells by the command of the menu; the errors."
    browser.js(f"jupyterapp.commands.execute('docmanager:open', {{path: {json.dumps(path)}, factory: 'Notebook'}}).then(w => {{ window.lab_notebook = w; }})")
    browser.wait(lambda: browser.js('lab_notebook.context.isReady && lab_notebook.sessionContext.isReady'), f'the kernel of {path}')
    browser.js("jupyterapp.commands.execute('notebook:run-all-cells').then(() => undefined)")
    browser.wait(lambda: browser.js(WAITING) == 0 or browser.js(ERRORS), f'{path} to be run', SECONDS, 0.5)
    return browser.js(ERRORS)


def move_sliders(browser, path):
    "Move each slider of a notebook that was run; how many there are, and what did not follow."
    cells = browser.js('[...Array(lab_notebook.content.model.cells.length).keys()].filter(i => { const c = lab_notebook.content.model.cells.get(i); '
                       f"return c.type === 'code' && JSON.stringify(c.toJSON().outputs).includes({json.dumps(WIDGET)}); }})")
    n, problems = 0, []
    for i in cells:
        browser.js(f"(async () => {{ const nb = lab_notebook.content; nb.activeCellIndex = {i}; await nb.scrollToItem({i}, 'start'); window.lab_cell = nb.widgets[{i}]; }})()")
        name = f'{path}, cell {browser.js("lab_cell.model.id")}'
        shown = "lab_cell.node.querySelectorAll('.jp-OutputArea .jupyter-widgets').length"
        try: browser.wait(lambda: browser.js(shown), f'the widgets of {name}', 60)
        except RuntimeError as e: problems.append(str(e)); continue
        for j in range(browser.js("lab_cell.node.querySelectorAll('.widget-slider .noUi-handle').length")):
            n += 1
            handle = f"lab_cell.node.querySelectorAll('.widget-slider .noUi-handle')[{j}]"
            value = f"{handle}.getAttribute('aria-valuetext')"
            try:
                browser.wait(lambda: browser.js(PICTURES), f'a picture in {name}', 60)
                before, at = browser.js(PICTURES), browser.js(value)
                last = browser.js(f"{handle}.getAttribute('aria-valuenow') === {handle}.getAttribute('aria-valuemax')")
                browser.js(f'{handle}.scrollIntoView({{block: "center"}}), {handle}.focus()')
                browser.key('ArrowLeft' if last else 'ArrowRight')
                browser.wait(lambda: browser.js(value) != at, f'slider {j} of {name} to move', 20)
                browser.wait(lambda: browser.js(PICTURES) != before, f'the picture in {name} to follow slider {j}', 60)
            except RuntimeError as e: problems.append(str(e))
    return n, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='*', help='paths in nbs, without .ipynb')
    parser.add_argument('--picture', help='a PNG of each notebook after its run goes into this folder')
    args = parser.parse_args()
    names = args.notebooks or [n for n in NOTEBOOKS if (ROOT/'nbs'/f'{n}.ipynb').exists()]
    if not find_browser(): sys.exit('protoflow: the notebooks were not run in JupyterLab: there is no Chromium (Debian and Ubuntu: apt install chromium)')
    failed = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
        folder = Path(tmp).resolve()
        prepare(folder, names)
        with Lab(folder) as lab, Browser() as browser:
            browser.size(1280, 1000)
            browser.go(lab.address + '?reset')
            browser.wait(lambda: browser.js("Boolean(window.jupyterapp)"), 'JupyterLab to load')
            browser.js('jupyterapp.restored.then(() => undefined)')
            for name in names:
                start = time.time()
                try:
                    problems, n = run_all(browser, f'{name}.ipynb'), 0
                    if not problems: n, problems = move_sliders(browser, name)
                except RuntimeError as e: problems, n = [str(e)], 0
                if args.picture: browser.picture(f'{args.picture}/{name.replace("/", "-")}.png')
                browser.js("lab_notebook.sessionContext.shutdown().then(() => lab_notebook.context.save()).then(() => lab_notebook.close())")
                failed += bool(problems)
                print(f'{"FAILED" if problems else "passed"}  {name} in JupyterLab, {n} sliders  {time.time() - start:.0f} s', flush=True)
                for p in problems: print('        ' + p, flush=True)
    print(f'{len(names) - failed} passed, {failed} failed')
    sys.exit(failed > 0)


if __name__ == '__main__': main()
