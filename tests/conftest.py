"""What every test has: settings of hypothesis. Fixtures of one capability live in the conftest.py of its folder."""

from hypothesis import settings

# No deadline: the suite shares its cores with the processes that it starts. A failure prints how to repeat it.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")
