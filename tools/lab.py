"""Run the main notebooks in JupyterLab as a reader does, in a browser, and move every slider in them.

    lab.py [NOTEBOOK ...]     others than those below

Everything happens in a copy. A notebook fails if a cell does, or if a picture stays the same when its slider is moved.
"""
import os
ENV = dict(os.environ)      # as make sets it for `make lab`; notebooks.py changes it
import argparse, shutil, socket, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path
from playwright.sync_api import Error, TimeoutError
from browser import NO_BROWSER, find_browser, open_tab
from notebooks import ROOT, WIDGET, directives, nbformat, why_not_run

NOTEBOOKS = ('0_tour/02_digits', '1_core/04_figures', '3_flows/01_transforms', '3_flows/04_coupling',
             '4_prototypes/02_mixture', '4_prototypes/06_protoflow', '5_training/05_learner',
             '6_interpretation/01_prototypes', '6_interpretation/04_explanations', '7_apps/03_explorers')
SECONDS = 600       # that a notebook may take
# What runs in the page. `lab_notebook` is the open notebook, `lab_cell` the cell whose sliders are moved.
OPEN = '''path => jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'})
  .then(notebook => { window.lab_notebook = notebook; })'''
READY = 'lab_notebook.context.isReady && lab_notebook.sessionContext.isReady'
RUN = "jupyterapp.commands.execute('notebook:run-all-cells').then(() => undefined)"
CLOSE = '''lab_notebook.sessionContext.shutdown()
  .then(() => lab_notebook.context.save()).then(() => lab_notebook.close())'''
CODE = "[...lab_notebook.content.model.cells].filter(c => c.type === 'code')"
ERRORS = CODE + '''.flatMap(c => c.toJSON().outputs.filter(o => o.output_type === 'error')
  .map(o => `${c.id}: ${o.ename}: ${o.evalue}`))'''
DONE = f'''lab_notebook.sessionContext.session?.kernel?.status === 'idle'
  && {CODE}.every(c => c.executionCount || !c.sharedModel.getSource().trim())'''
WITH_WIDGETS = '''kind => [...lab_notebook.content.model.cells].map((c, i) => [c, i])
  .filter(([c, i]) => c.type === 'code' && JSON.stringify(c.toJSON().outputs).includes(kind)).map(([c, i]) => i)'''
SHOW = '''async i => { const nb = lab_notebook.content; nb.activeCellIndex = i; await nb.scrollToItem(i, 'start');
  window.lab_cell = nb.widgets[i]; return lab_cell.model.id; }'''
WIDGETS = "lab_cell.node.querySelectorAll('.jp-OutputArea .jupyter-widgets').length"
HANDLES = '''() => { window.lab_handles = [...lab_cell.node.querySelectorAll('.widget-slider .noUi-handle')];
  return lab_handles.length; }'''
PICTURES = '''(async () => { const out = [];
  for (const e of lab_cell.node.querySelectorAll('.jp-OutputArea img, .jp-OutputArea canvas')) {
    if (e.tagName === 'CANVAS') { out.push(e.toDataURL()); continue; }
    const data = new Uint8Array(await (await fetch(e.src)).arrayBuffer());
    out.push(`${data.length} ${data.reduce((h, v) => (h*31 + v) | 0, 0)}`);
  }
  return out.join(); })()'''
FOCUS = '''j => { const e = lab_handles[j]; e.scrollIntoView({block: 'center'}); e.focus();
  return [e.getAttribute('aria-valuetext'), e.getAttribute('aria-valuenow') === e.getAttribute('aria-valuemax')]; }'''

MOVED = "([j, at]) => lab_handles[j].getAttribute('aria-valuetext') !== at"
CHANGED = f'before => ({PICTURES}).then(now => now !== before)'


def prepare(folder, names):
    "Copies of the notebooks without outputs, and without cells that have a flag or export."
    unwanted = shutil.ignore_patterns('*.ipynb', '.ipynb_checkpoints', '__pycache__')
    shutil.copytree(ROOT/'nbs', folder/'nbs', ignore=unwanted)
    for name in names:
        source = ROOT/'nbs'/f'{name}.ipynb'
        nb = nbformat.read(source, 4)
        for i, (cell, said) in enumerate(zip(nb.cells, directives(source))):
            if cell.cell_type != 'code': continue
            cell.outputs, cell.execution_count = [], None
            left_out = why_not_run(said, ()) or 'nbdev_export(' in cell.source
            if left_out: nb.cells[i] = nbformat.v4.new_raw_cell(cell.source, id=cell.id)
        copy = folder/'nbs'/f'{name}.ipynb'
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, copy)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@contextmanager
def jupyterlab(folder):
    "The address of JupyterLab of this environment on a folder, on a free port."
    port = free_port()
    state = {'JUPYTERLAB_WORKSPACES_DIR': f'{folder}/workspaces', 'JUPYTERLAB_SETTINGS_DIR': f'{folder}/settings',
             'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    options = ['--no-browser', f'--ServerApp.port={port}', '--ServerApp.port_retries=0', '--IdentityProvider.token=',
               '--LabApp.expose_app_in_browser=True', '--LabApp.news_url=', f'--ServerApp.root_dir={folder}/nbs']
    if os.geteuid() == 0: options.append('--allow-root')
    with open(folder/'lab.log', 'w+', encoding='utf-8') as log:
        command = [sys.executable, '-m', 'jupyterlab', *options]
        process = subprocess.Popen(command, cwd=folder, env=ENV | state, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with socket.socket() as s:
                    if s.connect_ex(('127.0.0.1', port)) == 0: break
                if process.poll() is not None:
                    said = (folder/'lab.log').read_text(encoding='utf-8', errors='replace')
                    raise RuntimeError('JupyterLab did not start:\n' + said[-3000:])
                time.sleep(0.2)
            yield f'http://127.0.0.1:{port}/lab'
        finally:
            process.terminate()
            try: process.wait(30)
            except subprocess.TimeoutExpired: process.kill()


def wait_for(page, condition, what, seconds=60, arg=None):
    "Wait until a JavaScript expression is true; `RuntimeError` if it takes too long."
    try: page.wait_for_function(condition, arg=arg, timeout=1000*seconds, polling=200)
    except TimeoutError: raise RuntimeError(f'waited {seconds} s for {what}') from None


def run_all(page, path):
    "Open a notebook and run all its cells by the command of the menu; the errors."
    page.evaluate(OPEN, path)
    wait_for(page, READY, f'the kernel of {path}', 120)
    page.evaluate(RUN)
    wait_for(page, f'({DONE}) || {ERRORS}.length', f'{path} to be run', SECONDS)
    return page.evaluate(ERRORS)


def move_slider(page, j, where):
    "Move slider `j` of the cell by a step, and wait for its picture."
    wait_for(page, PICTURES, f'a picture in {where}')
    before, (at, at_end) = page.evaluate(PICTURES), page.evaluate(FOCUS, j)
    page.keyboard.press('ArrowLeft' if at_end else 'ArrowRight')
    wait_for(page, MOVED, f'slider {j} of {where} to move', 20, [j, at])
    wait_for(page, CHANGED, f'the picture in {where} to follow slider {j}', 60, before)


def move_sliders(page, path):
    "Move each slider of a notebook that was run; how many there are, and what did not follow."
    n, problems = 0, []
    for i in page.evaluate(WITH_WIDGETS, WIDGET):
        where = f'{path}, cell {page.evaluate(SHOW, i)}'
        try:
            wait_for(page, WIDGETS, f'the widgets of {where}')
            for j in range(page.evaluate(HANDLES)):
                n += 1
                move_slider(page, j, where)
        except RuntimeError as e: problems.append(str(e))
    return n, problems


def check(page, name):
    "How many sliders a notebook has, and what is wrong with it."
    try:
        errors = run_all(page, f'{name}.ipynb')
        return (0, errors) if errors else move_sliders(page, name)
    except (RuntimeError, Error) as e: return 0, [str(e)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='*', help='paths in nbs, without .ipynb')
    parser.add_argument('--picture', help='a PNG of each notebook after its run goes into this folder')
    args = parser.parse_args()
    names, failed = args.notebooks or NOTEBOOKS, 0
    if not find_browser(): sys.exit(f'protoflow: the notebooks were not run in JupyterLab: {NO_BROWSER}')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
        folder = Path(tmp).resolve()
        prepare(folder, names)
        with jupyterlab(folder) as address, open_tab() as page:
            page.set_viewport_size(dict(width=1280, height=1000))
            page.goto(address + '?reset')
            wait_for(page, 'Boolean(window.jupyterapp)', 'JupyterLab to load', 120)
            page.evaluate('jupyterapp.restored.then(() => undefined)')
            for name in names:
                start = time.time()
                n, problems = check(page, name)
                if args.picture: page.screenshot(path=f'{args.picture}/{name.replace("/", "-")}.png')
                page.evaluate(CLOSE)
                failed += bool(problems)
                result = 'FAILED' if problems else 'passed'
                print(f'{result}  {name} in JupyterLab, {n} sliders  {time.time() - start:.0f} s', flush=True)
                for p in problems: print('        ' + p, flush=True)
    print(f'{len(names) - failed} passed, {failed} failed')
    sys.exit(failed > 0)


if __name__ == '__main__': main()
