"""What editors and type checkers see of the names that ``__init__.py`` gives on first use."""

from sdabn_cli.api import LoadedModel as LoadedModel
from sdabn_cli.api import Result as Result
from sdabn_cli.api import UnitResult as UnitResult
from sdabn_cli.api import evaluate as evaluate
from sdabn_cli.api import load as load
from sdabn_cli.api import save as save
from sdabn_cli.api import train_cascade as train_cascade
from sdabn_cli.api import train_stage as train_stage
from sdabn_cli.errors import SdabnError as SdabnError
from sdabn_cli.errors import Stopped as Stopped

__version__: str
DEFAULT_MODEL: str
