"""How the house is built: what may import what, how wide a line may be, what is declared. test.py asks this.

The order of rooms and modules is that of the folders and notebooks in `nbs/`: `1_core` before `2_data`, `01_` before
`02_`. A module imports only from modules before it, so nothing goes round in a circle, and uses all that it imports.
"""
import ast, posixpath, re, shutil, subprocess, sys, tempfile
from pathlib import Path
import yaml
from notebooks import ROOT, TEXT, find, get_config, nbformat
from pyflakes.checker import Checker

LIB = get_config().lib_path.name
MAX_COLUMNS = 120
GENERATED = '__init__.py', '_modidx.py'
BY_NBDEV = re.compile(r"__all__ = |\s{11}'\w+'[,\]]|#\|\s*fig-alt:")     # lines that nbdev writes or wants to be one


def modules():
    "The exported modules."
    return [p for p in sorted(Path(LIB).rglob('*.py')) if p.name not in GENERATED]


def notebook_of(path):
    "The notebook that a module is exported from; in alphabetical order they are the order of modules."
    source = re.search(r'File to edit: (\S+?)\.?$', path.read_text(encoding='utf-8'), re.M)
    return (path.parent/source[1]).resolve().relative_to(ROOT).as_posix()


def imported(path):
    "The modules of this package that a module imports, at any depth, with the line."
    package = path.with_suffix('').parts
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): names = [(node.lineno, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[:-node.level], *filter(None, [node.module])] if node.level else [node.module]
            names = [(node.lineno, '.'.join(base)), *((node.lineno, '.'.join([*base, a.name])) for a in node.names)]
        else: continue
        for line, name in names:
            found = Path(*name.split('.')).with_suffix('.py')
            if found.parts[0] == LIB and found.exists(): yield line, found


def wrong_way():
    "Imports of a module by one that comes before it."
    place = {p: notebook_of(p) for p in modules()}
    return [f'{p}:{line}: imports {target}, which {place[target]} exports later'
            for p in place for line, target in imported(p) if place[target] >= place[p]]


def patched_elsewhere():
    "Methods that are added to a class of another room."
    trees = {p: ast.parse(p.read_text(encoding='utf-8')).body for p in modules()}
    home = {node.name: p for p, body in trees.items() for node in body if isinstance(node, ast.ClassDef)}
    added = [(p, node) for p, body in trees.items() for node in body if is_patch(node)]
    def room(node): return home.get(ast.unparse(node.args.args[0].annotation), Path()).parent
    far = [(p, node) for p, node in added if room(node) != p.parent]
    return [f'{p}:{node.lineno}: {node.name} is added to a class of {room(node)}' for p, node in far]


def is_patch(node):
    return any(ast.unparse(d).startswith('patch') for d in getattr(node, 'decorator_list', []))


def code_cells():
    "`(path, cell)` of all code cells."
    return [(p, c) for p in find() for c in nbformat.read(p, 4).cells if c.cell_type == 'code']


def module_sources():
    return {str(p): p.read_text(encoding='utf-8') for p in [*modules(), *sorted(Path('tools').glob('*.py'))]}


def unused_imports():
    "Imports that nothing uses: they would be there for their side effects only."
    sources = module_sources()
    del sources[f'{LIB}/all.py']
    for p, cell in code_cells():
        if '#| exporti' in cell.source: continue
        sources[p] = sources.get(p, '') + re.sub(r'^[%!].*', 'pass', cell.source, flags=re.M) + '\n'
    found = [(p, m) for p, text in sources.items() for m in Checker(ast.parse(text), str(p)).messages]
    return [f'{p}: {m.message_args[0]} is not used' for p, m in found if type(m).__name__ == 'UnusedImport']


def wide_lines():
    "Lines of code with more than 120 columns."
    sources = module_sources() | {f'{p}, cell {c.id}': c.source for p, c in code_cells()}
    return [f'{p}, line {n}: {len(line)} columns: {line.strip()[:50]}…' for p, text in sources.items()
            for n, line in enumerate(text.splitlines(), 1) if len(line) > MAX_COLUMNS and not BY_NBDEV.match(line)]


def crowded_cells():
    "Exported cells with several public definitions, which the site would show in reverse order."
    def public(cell):
        named = [n for n in ast.parse(cell.source).body if hasattr(n, 'name') and not is_patch(n)]
        return [n.name for n in named if n.name[0] != '_']
    exported = [(p, c) for p, c in code_cells() if re.match(r'#\|\s*exports?\b', c.source)]
    return [f'{p}, cell {c.id}: {", ".join(public(c))}' for p, c in exported if len(public(c)) > 1]


def undeclared():
    "What is imported and not required in settings.ini, or required and not imported, by deptry."
    with tempfile.TemporaryDirectory() as tmp:
        required = {k: v.split() for k, v in get_config().d.items() if k.endswith('requirements')}
        extra = [r for k, v in required.items() if k not in ('requirements', 'dev_requirements') for r in v]
        Path(tmp, 'requirements.txt').write_text('\n'.join([*required['requirements'], *extra]), encoding='utf-8')
        Path(tmp, 'pyproject.toml').touch()
        shutil.copytree(LIB, Path(tmp, LIB), ignore=shutil.ignore_patterns('__pycache__', 'pretrained'))
        command = [sys.executable, '-m', 'deptry', '--no-ansi', '.', '--per-rule-ignores', 'DEP002=tensorboard']
        run = subprocess.run(command, cwd=tmp, **TEXT)
    return [line for line in run.stderr.splitlines() if ' DEP' in line] or ([run.stderr] if run.returncode else [])


def tour():
    "The notebooks of the tour, in the order of the site's menu, with their cells."
    bar = yaml.safe_load(Path('_quarto.yml').read_text(encoding='utf-8'))['website']['navbar']['left']
    menu = next(entry['menu'] for entry in bar if entry['text'] == 'Tour')
    return {page['href']: nbformat.read(Path('nbs', page['href']), 4).cells for page in menu}


def tour_links():
    "Pages of the tour whose last text does not lead to the page before and to the page after."
    cells, problems = tour(), []
    pages = list(cells)
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None]):
        parts = ['**Tour**']
        for word, other in ('previous', before), ('next', after):
            if not other: continue
            title = cells[other][0].source.splitlines()[0].removeprefix('# ')
            parts.append(f'{word}: [{title}]({posixpath.relpath(other, posixpath.dirname(page))})')
        expected = ' · '.join(parts)
        if [c.source for c in cells[page] if c.cell_type == 'markdown'][-1] != expected:
            problems.append(f'{page}: the last text should be {expected}')
    return problems


def bare_starts():
    "Pages whose first code does not say how to install the package where it is missing: in a Python without packages."
    problems, pages = [], tour() | {str(p): nbformat.read(p, 4).cells for p in find('0_tour')}
    for page, cells in pages.items():
        first = next(c.source for c in cells if c.cell_type == 'code' and '#| default_exp' not in c.source)
        run = subprocess.run([sys.executable, '-I', '-S', '-c', first], **TEXT)
        if run.returncode != 1 or '%pip install' not in run.stderr or 'Traceback' in run.stderr:
            problems.append(f'{page}: its first code does not say how to install the package: {run.stderr[-200:]}')
    return problems


CHECKS = {'rooms and modules import only from those before them': wrong_way,
          'methods stand in the room of their class': patched_elsewhere,
          'no import for its side effect': unused_imports, 'what is imported is declared': undeclared,
          f'no line of code over {MAX_COLUMNS} columns': wide_lines, 'one public definition a cell': crowded_cells,
          'the tour leads from page to page': tour_links, 'the tour can start anywhere': bare_starts}

if __name__ == '__main__':
    for name, check in CHECKS.items(): print(f'{name}:', *check() or ['yes'], sep='\n    ')
