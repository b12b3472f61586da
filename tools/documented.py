"""What is public and not documented, or never shown. test.py asks; alone this prints it.

    documented.py [PATTERN]     with PATTERN, only modules whose path contains it

Public are the names in a module's `__all__`, their methods without an underscore, and those added by `@patch`. Each has
a docstring (a constant or a short method a comment), and each parameter a comment, unless the docstring names it or it
is one of those below; a tensor's comment has a shape. A cell that is not exported uses each name of `__all__`; for a
patched method it is enough that the module calls it. What a method of a base class says need not be said again.
"""
import ast, io, re, sys, tokenize
from architecture import is_patch, modules, notebook_of
from notebooks import nbformat

# Parameters whose name says what they are, by conventions.md: tensors, which have a shape there, and the rest.
SHAPED = set('x y z ldj logits component_log_prob class_log_prob responsibilities heatmap context'.split())
KNOWN = SHAPED | set('self cls args kwargs model ds dls flow mixture learner seed generator device dtype progress path '
                     'title figsize ax n_classes n_prototypes'.split())
# What these do is said by torch or by the contract of a transform: no docstring, and used without their name.
CONTRACT = set('forward inverse backward setup_context extra_repr'.split())
SHAPE = re.compile(r'\([\w.]+[^()]*,[^()]*\)|\(\.\.\.\)|\(\)|\bshape\b|\bscalar\b|\bas `')
FUNCTION = ast.FunctionDef, ast.AsyncFunctionDef


def comments(text):
    "`{line: comment}` of Python source."
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}


def names_in(text):
    "The identifiers that a cell uses, without those it only imports; of a cell that is not Python, all words."
    code = re.sub(r'^\s*[%!].*', '', text, flags=re.M)
    try: nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError: return set(re.findall(r'\w+', code))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def names_shown(path):
    "The names in the cells of a module's notebook that are not exported."
    cells = [c.source for c in nbformat.read(notebook_of(path), 4).cells if c.cell_type == 'code']
    return set().union(*(names_in(c) for c in cells if not re.search(r'^#\|\s*exporti?s?\b', c, re.M)))


def bases_and_methods(paths):
    "`{class: (its bases, its methods)}` of the package."
    nodes = [n for p in paths for n in ast.parse(p.read_text(encoding='utf-8')).body if isinstance(n, ast.ClassDef)]
    def bases(node): return [ast.unparse(b).split('.')[-1] for b in node.bases]
    return {n.name: (bases(n), {m.name for m in n.body if isinstance(m, FUNCTION)}) for n in nodes}


class Module:
    "The public definitions of an exported module, and what is missing there."
    def __init__(self, path, classes):
        text = path.read_text(encoding='utf-8')
        self.path, self.classes, self.problems = path, classes, []
        self.lines, self.comments = text.splitlines(), comments(text)
        self.used, self.named = names_shown(path) | CONTRACT, names_in(text)
        body = ast.parse(text).body
        lists = [n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == '__all__']
        self.all = [e.value for e in getattr(lists[0], 'elts', [])] if lists else []
        for node in body: self.definition(node)

    def definition(self, node):
        if isinstance(node, FUNCTION) and is_patch(node):
            if node.name.startswith('_'): return
            self.function(node, f'{ast.unparse(node.args.args[0].annotation)}.{node.name}')
            if node.name not in self.named: self.shown(node, node.name)
        elif isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name in self.all:
            (self.klass if isinstance(node, ast.ClassDef) else self.function)(node, node.name)
            self.shown(node, node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in getattr(node, 'targets', None) or [node.target]:
                if getattr(target, 'id', None) not in self.all: continue
                if not self.comment(node.lineno, node.end_lineno): self.say(node, f'{target.id} has no comment')
                self.shown(node, target.id)

    def say(self, node, text): self.problems.append(f'{self.path}:{node.lineno}: {text}')

    def shown(self, node, name):
        if name not in self.used: self.say(node, f'no demo or test of its notebook uses {name}')

    def comment(self, first, last=None):
        "The comment at the end of the lines from `first` to `last`, or alone in the line before."
        found = [self.comments[n] for n in range(first, (last or first) + 1) if n in self.comments]
        before = self.lines[first-2].strip() if first > 1 else ''
        if found or not before.startswith('#') or before.startswith('# %%'): return ' '.join(found)
        return before.lstrip('# ')

    def inherited(self, name, method):
        "Does a base class, itself looked at, have this method?"
        bases = self.classes.get(name, ([], ()))[0]
        return any(method in self.classes.get(b, ((), ()))[1] or self.inherited(b, method) for b in bases)

    def klass(self, node, label):
        if not ast.get_docstring(node): self.say(node, f'{label} has no docstring')
        data = re.search('dataclass|NamedTuple', ' '.join(map(ast.unparse, node.decorator_list + node.bases)))
        for item in node.body:
            if isinstance(item, FUNCTION):
                if item.name == '__init__': self.parameters(item, label)
                elif item.name[0] == '_' or self.inherited(label, item.name): continue
                else: self.function(item, f'{label}.{item.name}')
            elif data and isinstance(item, ast.AnnAssign):
                self.parameter(item, item.target.id, item.annotation, self.comment(item.lineno, item.end_lineno), label)

    def function(self, node, label):
        short = '.' in label and self.comment(node.lineno, node.body[0].lineno)
        said = ast.get_docstring(node) or short or node.name in CONTRACT | KNOWN
        if not said: self.say(node, f'{label} has no docstring')
        self.parameters(node, label)

    def parameters(self, node, label):
        a, said = node.args, ast.get_docstring(node) or ''
        for arg in filter(None, [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]):
            comment = self.comment(arg.lineno)
            of_result = '->' in self.lines[arg.lineno-1].split('#')[0] and '→' not in comment
            self.parameter(arg, arg.arg, arg.annotation, '' if of_result else comment, label, said)

    def parameter(self, node, name, annotation, comment, label, said=''):
        tensor = annotation is not None and 'Tensor' in ast.unparse(annotation)
        if name.startswith('_') or name in KNOWN and (comment or name in SHAPED or not tensor): return
        if not comment and f'`{name}`' in said and not tensor: return
        if not comment: self.say(node, f'{label}: nothing says what `{name}` is')
        elif tensor and not SHAPE.search(comment): self.say(node, f'{label}: tensor `{name}` has no shape: {comment}')


def undocumented(pattern=''):
    "A line for everything public that is not documented or not used."
    classes = bases_and_methods(modules())
    return [problem for p in modules() if pattern in p.as_posix() for problem in Module(p, classes).problems]


if __name__ == '__main__': print('\n'.join(undocumented(*sys.argv[1:])))
