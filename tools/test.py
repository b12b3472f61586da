"""Check the project and run its notebooks. The last line printed is `N passed, M failed`.

    test.py [PATTERN] [--flags "data ddp slow"]     with PATTERN, only the notebooks whose path contains it
"""
import argparse, ast, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path
from architecture import CHECKS
from documented import undocumented
from notebooks import ROOT, TEXT, WIDGET, execute, find, get_config, in_parallel
from notebooks import nbformat, readme, readme_pictures, tidy
from pyflakes.checker import Checker

LIB = get_config().lib_path.name
ABSOLUTE = re.compile(r'(?:^|[\s"\'(=])(/(?:[\w.-]+/)+[\w.-]+)')      # a path of somebody's machine
MAX_MB = 25     # of the repository with the outputs it stores
UNDEFINED = 'UndefinedName', 'UndefinedLocal', 'UndefinedExport', 'ImportStarUsage', 'ImportStarUsed'
results = []    # True or False for each check so far


def report(name, problems, note=''):
    "Print and count one check. `problems` is a list of lines, empty if it passed."
    results.append(not problems)
    print(f'{"FAILED" if problems else "passed"}  {name}{note}', flush=True)
    for line in problems: print('        ' + line.replace('\n', '\n        '), flush=True)


def modules(): return sorted(Path(LIB).rglob('*.py'))


def export_differences():
    "Files that differ between the package here and one exported from the notebooks into an empty folder."
    with tempfile.TemporaryDirectory() as tmp:
        for name in 'settings.ini', 'pyproject.toml': shutil.copy(name, tmp)
        shutil.copytree('nbs', Path(tmp)/'nbs', symlinks=True)
        env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
        code = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
        run = subprocess.run([sys.executable, '-c', code], cwd=tmp, env=env, **TEXT)
        if run.returncode: return [run.stderr]
        new = {p.relative_to(tmp): p.read_bytes() for p in Path(tmp, LIB).rglob('*.py')}
        new[Path('pyproject.toml')] = Path(tmp, 'pyproject.toml').read_bytes()
    old = {p: p.read_bytes() for p in [*modules(), Path('pyproject.toml')]}
    differ = [p for p in sorted(old.keys() | new.keys()) if old.get(p) != new.get(p)]
    return [f'{p}: is not what the notebooks export (make export)' for p in differ]


# Imports each module in a process of its own, in which nothing but torch was imported before: that takes seconds.
IMPORTER = '''
import importlib, os, sys, traceback, torch
for name in sys.argv[1:]:
    if child := os.fork():
        if os.waitpid(child, 0)[1]: print(name)
        continue
    try: importlib.import_module(name)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
'''


def import_errors():
    "The modules that cannot be imported alone, and why."
    names = ['.'.join(p.with_suffix('').parts).removesuffix('.__init__') for p in modules() if p.name != '_modidx.py']
    run = subprocess.run([sys.executable, '-c', IMPORTER, *names], **TEXT)
    return [*run.stdout.split(), run.stderr] if run.stdout or run.returncode else []


def undefined_names(path):
    "Names that a module uses and never defines. Only `all.py` may import with a star, which would hide them."
    found = Checker(ast.parse(path.read_text(encoding='utf-8')), str(path)).messages
    kinds = UNDEFINED[:3] if path.name == 'all.py' else UNDEFINED
    return [str(m) for m in found if type(m).__name__ in kinds]


def mixes_imports(source):
    "Does a cell that is not exported import something and do something else, which the site would run too?"
    try: tree = ast.parse(source)
    except SyntaxError: return False        # a magic
    kinds = [isinstance(s, (ast.Import, ast.ImportFrom)) for s in tree.body]
    imports = any(isinstance(s, (ast.Import, ast.ImportFrom)) for s in ast.walk(tree))
    return imports and not all(kinds) and '#| export' not in source and 'nbdev_export(' not in source


def untidy(path):
    "What keeps a notebook from being kept in git as it is."
    text = path.read_text(encoding='utf-8')
    nb, problems = nbformat.reads(text, 4), []
    if 'widgets' in nb.metadata: problems.append('has widget state')
    for cell in nb.cells:
        if cell.cell_type == 'code' and mixes_imports(cell.source):
            problems.append(f'cell {cell.id} imports and does more: the site runs it; imports have cells of their own')
        if cell.cell_type == 'markdown' and '\t' in cell.source:
            problems.append(f'cell {cell.id} has a tab in its text: a backslash was lost, such as that of \\tfrac')
        for out in cell.get('outputs', []):
            if out.output_type == 'error': problems.append(f'cell {cell.id} has stored an error: {out.ename}')
            if WIDGET in out.get('data', {}): problems.append(f'cell {cell.id} has stored a widget view')
            texts = [out.get('text', '')] + [v for k, v in out.get('data', {}).items() if k.startswith('text/')]
            problems += [f'cell {cell.id} has stored the path {p}' for t in texts for p in ABSOLUTE.findall(t)]
    if str(ROOT) in text: problems.append(f'names {ROOT}')
    if tidy(nb) != text: problems.append('has counts, metadata or a layout of its own (make export)')
    return [f'{path}: {p}' for p in problems]


def readme_differences():
    "Files that differ between README.md with its pictures and what the index notebook gives."
    new = readme()
    names = new.keys() | {os.path.relpath(p, ROOT) for p in readme_pictures()}
    return [f'{name}: not what {get_config().readme_nb} gives (make readme)' for name in sorted(names)
            if not Path(name).exists() or Path(name).read_bytes() != new.get(name)]


def too_large():
    "The largest files, if all that git keeps are too much."
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    names = subprocess.run(command, **TEXT, check=True).stdout.split('\0')
    files = [p for p in map(Path, filter(None, names)) if p.is_file() and not p.is_symlink()]
    sizes = sorted(((p.stat().st_size/2**20, p) for p in files), reverse=True)
    total = sum(size for size, _ in sizes)
    return [f'{total:.1f} MB in all'] + [f'{size:.1f} MB {p}' for size, p in sizes[:5]] if total > MAX_MB else []


def guarded(check, *args):
    "The problems that `check` finds; an error in it is one too."
    try: return check(*args)
    except Exception as e: return [f'{type(e).__name__}: {e}']


def check_project():
    report('export leaves no difference', guarded(export_differences))
    report('every module can be imported alone', guarded(import_errors))
    report('no undefined names', [line for p in modules() for line in guarded(undefined_names, p)])
    for name, check in CHECKS.items(): report(name, guarded(check))
    report('public names are documented and shown', guarded(undocumented))
    report(f'the repository has at most {MAX_MB} MB', guarded(too_large))
    report('notebooks are tidy', [line for p in find() for line in guarded(untidy, p)])
    report('README.md is the index notebook', guarded(readme_differences))


def test(path, flags):
    "Run the notebook; an error in any cell is raised. Return the number of cells that each flag kept from running."
    os.environ['IN_TEST'] = '1'
    return execute(path, flags)[1]


def check_notebooks(paths, flags):
    for path, not_run, error, seconds in in_parallel(test, paths, flags):
        left_out = ', '.join(f'{n} {flag}' for flag, n in (not_run or {}).items())
        note = f'; cells not run: {left_out}' if left_out else ''
        report(path, [error] if error else [], f'  {seconds:.0f} s{note}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='?', default='', help='part of the path of the notebooks that are tested')
    parser.add_argument('--flags', default='', help='run the cells with these flags too')
    args = parser.parse_intermixed_args()
    if not args.pattern: check_project()
    paths = find(args.pattern)
    if not paths: report(f'notebooks like {args.pattern!r}', ['there are none'])
    check_notebooks(paths, args.flags.split())
    print(f'{sum(results)} passed, {len(results) - sum(results)} failed')
    sys.exit(not all(results))


if __name__ == '__main__': main()
