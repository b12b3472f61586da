"""Find, run and tidy the notebooks, and write README.md.

    notebooks.py run [PATTERN] [--flags "data ddp"]    run in place, so that the stored outputs are those of the code
    notebooks.py tidy                                  remove what Jupyter adds: counts, metadata, widget views
    notebooks.py readme                                README.md and its pictures, from the notebook in settings.ini
"""
import argparse, os, posixpath, re, sys, time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
N_WORKERS = 2
CELL_TIMEOUT = 1800     # seconds, for cells that are not flagged slow
os.environ['OMP_NUM_THREADS'] = '1'
os.environ['PYTHONPATH'] = str(ROOT)    # a kernel imports the package of this checkout
# nobody's own settings, kernels or history
for name in 'JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR':
    folder = Path(sys.prefix)/'jupyter'/name.lower()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[name] = str(folder)
os.chdir(ROOT)
for stream in sys.stdout, sys.stderr: stream.reconfigure(errors='replace')      # a terminal may not know every letter

TEXT = dict(capture_output=True, encoding='utf-8', errors='replace')      # of a process

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor

KERNEL = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
WIDGET = 'application/vnd.jupyter.widget-view+json'


def find(pattern=''):
    "The notebooks whose path contains `pattern`, as paths from the root, in reading order."
    found = [Path(os.path.relpath(f, ROOT)) for f in nbglob(as_path=True)]
    return sorted(f for f in found if pattern in f.as_posix())


def directives(path):
    "What the `#|` lines of each cell say, one dict for each cell."
    return [cell.directives_ for cell in NBProcessor(path).nb.cells]


# what cells flagged `data` need: a word of theirs → variable, folder where that is not set, what is in it
DATA = {'parity': ('PROTOFLOW_PARITY', 'parity', 'expected.safetensors'),
        'mnist': ('DATASET_ROOT', 'data', 'MNIST/raw'), 'cifar10_jpeg': ('DATASET_ROOT', 'data', 'cifar10-jpeg.tar.xz')}


def absent_data(source):
    "What cells with this source need that is not there, and where it was looked for; None if all is, or they say so."
    if 'not run:' in source: return None
    for word, (variable, folder, name) in DATA.items():
        path = Path(os.environ.get(variable) or ROOT.parent/'shared'/folder, name)
        if re.search(rf'\b{word}\b', source.lower()) and not path.exists(): return f'no {path}, see {variable}'


def why_not_run(cell_directives, flags):
    "The flag that keeps a cell from running when only `flags` are asked for, or None."
    if cell_directives.get('eval:', [''])[0].lower() == 'false': return 'eval: false'
    return next((f for f in get_config().tst_flags.split() if f in cell_directives and f not in flags), None)


def execute(path, flags=()):
    "The notebook run in a new process, and how many cells each flag kept from running; those keep their outputs."
    nb, kept, not_run, said_of = nbformat.read(path, 4), {}, Counter(), directives(path)
    absent = absent_data('\n'.join(cell.source for cell, said in zip(nb.cells, said_of) if 'data' in said))
    if absent: flags = [flag for flag in flags if flag != 'data']
    for i, (cell, said) in enumerate(zip(nb.cells, said_of)):
        why = cell.cell_type == 'code' and why_not_run(said, flags)
        if why: not_run[f'{why} ({absent})' if why == 'data' and absent else why] += 1
        if why or 'nbdev_export(' in cell.source: kept[i], nb.cells[i] = cell, nbformat.v4.new_raw_cell()
    NotebookClient(nb, timeout=None if 'slow' in flags else CELL_TIMEOUT, kernel_name='python3', coalesce_streams=True,
                   force_raise_errors=True, extra_arguments=['--log-level=ERROR'],
                   resources={'metadata': {'path': str(Path(path).parent)}}).execute()
    code = [cell for cell in nb.cells if cell.cell_type == 'code' and cell.source.strip()]
    missed = [cell.id for cell in code if not cell.execution_count]
    if missed: raise RuntimeError(f'these cells did not run to their end: {missed}')
    for i, cell in kept.items(): nb.cells[i] = cell
    return nb, not_run


def tidy(nb):
    "The text of `nb` as it is kept in git: sources and outputs, and nothing of the run that made them."
    for cell in nb.cells:
        cell.metadata = {}
        for out in list(cell.get('outputs', [])):
            data = out.get('data', {})
            if data.pop(WIDGET, None) and 'image/png' not in data: cell.outputs.remove(out)     # a progress bar
            if 'metadata' in out: out.metadata = {}
    nb.metadata = nbformat.from_dict({'kernelspec': KERNEL})
    clean_nb(nb, clean_ids=get_config().clean_ids)
    return nbformat.writes(nb) + '\n'


def explain(error):
    "What to print of an error: a cell's source and traceback without colours, or any other error with its type."
    text = str(error) if isinstance(error, CellExecutionError) else f'{type(error).__name__}: {error}'
    return re.sub(r'\x1b\[[0-9;]*m', '', text).strip()


def attempt(work, path, flags):
    "`work(path, flags)`, the error if there was one, and the seconds it took."
    start = time.time()
    try: result, error = work(path, flags), None
    except Exception as e: result, error = None, explain(e)
    return result, error, time.time() - start


def in_parallel(work, paths, flags=()):
    "Yield `path, result, error, seconds` for each notebook as it ends."
    with ProcessPoolExecutor(N_WORKERS) as pool:
        jobs = {pool.submit(attempt, work, path, flags): path for path in paths}
        for job in as_completed(jobs):
            died = job.exception()
            yield jobs[job], *((None, explain(died), 0) if died else job.result())


def refresh(path, flags=()):
    "Run a notebook and store what it shows. A notebook that fails is left as it was."
    nb, _ = execute(path, flags)
    path.write_text(tidy(nb), encoding='utf-8')


def refresh_all(paths, flags=()):
    "Refresh all `paths`, print one line for each, at last those that failed, and return them."
    failed = []
    for path, _, error, seconds in in_parallel(refresh, paths, flags):
        print(f'{"FAILED" if error else "ran"} {path}  {seconds:.0f} s, {path.stat().st_size/1024:.0f} KB', flush=True)
        if error: failed.append(str(path)); print(error, flush=True)
    if failed: print(f'not run to the end, each with its error above: {", ".join(failed)}', flush=True)
    return failed


def readme():
    "README.md and its pictures, `{path from the root: bytes}`, from the index notebook and its stored outputs."
    from nbconvert import MarkdownExporter
    from traitlets.config import Config
    path = get_config().nbs_path/get_config().readme_nb
    folder = os.path.relpath(path.parent, ROOT)
    nb, cells = nbformat.read(path, 4), []
    for cell, said in zip(nb.cells, directives(path)):
        if cell.cell_type == 'raw' or said.keys() & {'hide', 'export', 'exporti', 'default_exp'}: continue
        if cell.cell_type == 'code': cell.source = re.sub(r'^[ \t]*#\|.*\n?', '', cell.source, flags=re.M)
        else: cell.source = from_root(cell.source, folder)
        cells.append(cell)
    nb.cells, nb.metadata['language_info'] = cells, {'name': 'python'}
    names = {'output_filename_template': f'{folder}/images/readme_{{cell_index}}_{{index}}{{extension}}'}
    text, extra = MarkdownExporter(config=Config(ExtractOutputPreprocessor=names)).from_notebook_node(nb)
    text = re.sub(r'\n(?:[ \t]*\n)+', '\n\n', text).strip() + '\n'
    return {'README.md': text.encode(), **extra['outputs']}


def readme_pictures():
    "The pictures that some earlier `readme` wrote."
    return sorted((get_config().nbs_path/'images').glob('readme_*'))


def from_root(markdown, folder):
    "`markdown` whose links and pictures, which are relative to `folder`, are made to be from the root."
    def move(m): return m[1] + posixpath.normpath(posixpath.join(folder, m[2]))
    return re.sub(r'(\]\(|\b(?:src|href)=")(?![a-z]+:|#|/)([^)"\s]+)', move, markdown)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('action', choices=['run', 'tidy', 'readme'])
    parser.add_argument('pattern', nargs='?', default='', help='part of the path of the notebooks to run')
    parser.add_argument('--flags', default='', help='run the cells with these flags too')
    args = parser.parse_intermixed_args()
    if args.action == 'run': sys.exit(bool(refresh_all(find(args.pattern), args.flags.split())))
    if args.action == 'tidy':
        for path in find(): path.write_text(tidy(nbformat.read(path, 4)), encoding='utf-8')
    if args.action == 'readme':
        for old in readme_pictures(): old.unlink()
        for name, content in readme().items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)


if __name__ == '__main__': main()
