"""What is public and not documented, or never shown. test.py asks; alone this prints it.

    documented.py [PATTERN]     with PATTERN, only modules whose path contains it

Public are the names in a module's `__all__`, their methods without an underscore, and methods added by `@patch`. Each has a docstring (a constant
or a short method a comment), and each parameter a comment, unless the docstring names it or its name is one of those below; a tensor's comment
has a shape. A cell of the notebook that is not exported uses each name of `__all__`; for a patched method it is enough that the module calls it.
What a method of a base class says need not be said again.
"""
import ast, io, re, sys, tokenize
from notebooks import ROOT, get_config, nbformat

# Parameters whose name says what they are, by conventions.md. Those in the first line are tensors and have a shape there.
SHAPED = set('x y z ldj logits component_log_prob class_log_prob responsibilities heatmap context'.split())
KNOWN = SHAPED | set('self cls args kwargs model ds dls flow mixture learner seed generator device dtype progress path title figsize ax n_classes n_prototypes'.split())
# What these do is said by torch or by the contract of a transform, so they need no docstring, and they are used without their name.
CONTRACT = set('forward inverse backward setup_context extra_repr'.split())
SHAPE = re.compile(r'\([\w.]+[^()]*,[^()]*\)|\(\.\.\.\)|\(\)|\bshape\b|\bscalar\b|\bas `')
FUNCTION = ast.FunctionDef, ast.AsyncFunctionDef


def comments(text):
    "`{line: comment}` of Python source."
    return {t.start[0]: t.string.lstrip('# ') for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT}


def names_in(text):
    "The identifiers that a cell uses, without those it only imports; of a cell that is not Python, all words."
    code = '\n'.join(l for l in text.splitlines() if not l.lstrip().startswith(('%', '!')))
    try: return {n for node in ast.walk(ast.parse(code)) for n in ([node.id] if isinstance(node, ast.Name) else [node.attr] if isinstance(node, ast.Attribute) else [])}
    except SyntaxError: return set(re.findall(r'\w+', code))


def patched(node):
    "The class that a function is patched into, if it is."
    if not any('patch' in ast.unparse(d).split('(')[0] for d in node.decorator_list) or not node.args.args: return None
    return ast.unparse(node.args.args[0].annotation) if node.args.args[0].annotation else None


def bases_and_methods(paths):
    "`{class: (its bases, its methods)}` of the package."
    nodes = [n for p in paths for n in ast.parse(p.read_text(encoding='utf-8')).body if isinstance(n, ast.ClassDef)]
    return {n.name: ([ast.unparse(b).split('.')[-1] for b in n.bases], {m.name for m in n.body if isinstance(m, FUNCTION)}) for n in nodes}


class Module:
    "The public definitions of an exported module, and what is missing there."
    def __init__(self, path, classes):
        self.classes = classes
        self.path, text = path, path.read_text(encoding='utf-8')
        self.lines, self.comments, self.problems = text.splitlines(), comments(text), []
        source = re.search(r'File to edit: (\S+?)\.?$', text, re.M)
        self.notebook = (path.parent/source[1]).resolve() if source else None
        body = ast.parse(text).body
        values = {t.id: n.value for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        self.all = [] if not isinstance(values.get('__all__'), ast.List) else [e.value for e in values['__all__'].elts]
        self.used = self.names_used()
        for node in body:
            if isinstance(node, FUNCTION) and (owner := patched(node)):
                if not node.name.startswith('_'):
                    self.function(node, f'{owner}.{node.name}')
                    if node.name not in names_in(text): self.shown(node, node.name)
            elif getattr(node, 'name', None) in self.all:
                (self.klass if isinstance(node, ast.ClassDef) else self.function)(node, node.name); self.shown(node, node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in getattr(node, 'targets', None) or [node.target]:
                    if isinstance(target, ast.Name) and target.id in self.all: self.constant(node, target.id)

    def say(self, node, text): self.problems.append(f'{self.path}:{node.lineno}: {text}')

    def comment(self, first, last=None):
        "The comment at the end of the lines from `first` to `last`, or alone in the line before."
        found = [self.comments[n] for n in range(first, (last or first) + 1) if n in self.comments]
        before = self.lines[first-2].strip() if first > 1 else ''
        return ' '.join(found) or (before.lstrip('# ') if before.startswith('#') and not before.startswith('# %%') else '')

    def names_used(self):
        "The names in the notebook's cells that are not exported."
        if not self.notebook: return set()
        cells = [c.source for c in nbformat.read(self.notebook, 4).cells if c.cell_type == 'code']
        return {n for c in cells if not re.search(r'^#\|\s*exporti?\b', c, re.M) for n in names_in(c)}

    def shown(self, node, name):
        if name not in self.used | CONTRACT: self.say(node, f'no demo or test of its notebook uses {name}')

    def constant(self, node, name):
        if not self.comment(node.lineno, node.end_lineno): self.say(node, f'{name} has no comment')
        self.shown(node, name)

    def inherited(self, name, method):
        "Does a base class, itself looked at, have this method?"
        bases = self.classes.get(name, ([], ()))[0]
        return any(method in self.classes.get(b, ((), ()))[1] or self.inherited(b, method) for b in bases)

    def klass(self, node, label):
        if not ast.get_docstring(node): self.say(node, f'{label} has no docstring')
        data = any('dataclass' in ast.unparse(d) for d in node.decorator_list) or any('NamedTuple' in ast.unparse(b) for b in node.bases)
        for item in node.body:
            if data and isinstance(item, ast.AnnAssign): self.parameter(item, item.target.id, item.annotation, self.comment(item.lineno, item.end_lineno), label)
            elif isinstance(item, FUNCTION) and item.name == '__init__': self.parameters(item, label)
            elif isinstance(item, FUNCTION) and not item.name.startswith('_') and not self.inherited(label, item.name): self.function(item, f'{label}.{item.name}')

    def function(self, node, label):
        short = '.' in label and self.comment(node.lineno, node.body[0].lineno)
        if not (ast.get_docstring(node) or short or node.name in CONTRACT | KNOWN): self.say(node, f'{label} has no docstring')
        self.parameters(node, label)

    def parameters(self, node, label):
        a = node.args
        for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]:
            comment = self.comment(arg.lineno)
            if '->' in self.lines[arg.lineno-1].split('#')[0] and '→' not in comment: comment = ''     # that comment is about what comes back
            self.parameter(arg, arg.arg, arg.annotation, comment, label, ast.get_docstring(node) or '')

    def parameter(self, node, name, annotation, comment, label, said=''):
        tensor = annotation is not None and 'Tensor' in ast.unparse(annotation)
        if name.startswith('_') or name in KNOWN and (comment or name in SHAPED or not tensor): return
        if not comment and f'`{name}`' in said and not tensor: return
        if not comment: self.say(node, f'{label}: nothing says what `{name}` is')
        elif tensor and not SHAPE.search(comment): self.say(node, f'{label}: the tensor `{name}` has no shape in its comment: {comment}')


def undocumented(pattern=''):
    "A line for everything public that is not documented or not used."
    paths = [p.relative_to(ROOT) for p in sorted(get_config().lib_path.rglob('*.py')) if p.name not in ('__init__.py', '_modidx.py')]
    classes = bases_and_methods(paths)
    return [problem for p in paths if pattern in p.as_posix() for problem in Module(p, classes).problems]


if __name__ == '__main__': print('\n'.join(undocumented(*sys.argv[1:])))
