"Make the virtual environment named on the command line, or say in one line what is missing."
import sys


def stop(message): sys.exit('protoflow: ' + message)


if sys.version_info < (3, 10):
    stop('Python 3.10 or newer is needed and this is %d.%d; name another one: make PYTHON=python3.12 ...' % sys.version_info[:2])
try: import ensurepip, venv     # some systems ship Python without them
except ImportError:
    stop('this Python cannot make virtual environments; install its venv package (Debian and Ubuntu: apt install python3-venv) or name another one: make PYTHON=...')
print('making ' + sys.argv[1])
venv.create(sys.argv[1], with_pip=True, clear=True)
