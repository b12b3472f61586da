"Make the virtual environment named on the command line, or say in one line what is missing."
import sys
from importlib.util import find_spec

ANOTHER = 'name another Python: make PYTHON=python3.12 ...'
if sys.version_info < (3, 10):
    sys.exit('protoflow: Python 3.10 or newer is needed and this is %d.%d; %s' % (*sys.version_info[:2], ANOTHER))
if not (find_spec('venv') and find_spec('ensurepip')):     # some systems ship Python without them
    sys.exit('protoflow: this Python cannot make virtual environments; install its venv package '
             f'(Debian and Ubuntu: apt install python3-venv) or {ANOTHER}')
print('making ' + sys.argv[1])
import venv
venv.create(sys.argv[1], with_pip=True, clear=True)
