"""What every test has: settings of hypothesis and of signals. Fixtures of one capability live in its folder."""

import signal

from hypothesis import settings

# No deadline: the suite shares its cores with the processes that it starts. A failure prints how to repeat it.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")

# A shell starts background jobs with Ctrl-C ignored, and the processes that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
