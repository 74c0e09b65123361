"""A module that sets up logging when it is imported, in whichever process that is."""

from __future__ import annotations

import logging
import logging.config

PLACE = "talk_configures"

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "CONFIGURED %(levelname)s %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "loggers": {PLACE: {"level": "INFO", "handlers": ["console"], "propagate": False}},
    }
)


def log_it(x):
    logging.getLogger(PLACE).info("said %s", x)
    return x
