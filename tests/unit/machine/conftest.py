"""The machine's tests share modules that assert; tests/conftest.py has them rewritten before anybody imports one."""
