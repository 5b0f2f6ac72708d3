"""Numbers and words of the Gradient SDK 0.3."""

from __future__ import annotations


class ExperimentType:
    """What kind of experiment a number means."""

    SINGLE_NODE = 1
    GRPC_MULTI_NODE = 2
    MPI_MULTI_NODE = 3
    HYPERPARAMETER_TUNING = 4

    @classmethod
    def get_type_str(cls, state_int: int) -> str:
        """The type in words; ``undefined`` for a number that is none."""
        return _TYPE_WORDS.get(state_int, "undefined")


_TYPE_WORDS = {
    ExperimentType.SINGLE_NODE: "single node",
    ExperimentType.GRPC_MULTI_NODE: "GRPC multi node",
    ExperimentType.MPI_MULTI_NODE: "MPI multi node",
    ExperimentType.HYPERPARAMETER_TUNING: "Hyperparameter tuning",
}


class ExperimentState:
    """The numbers of release 0.3; version 1.0 swapped those of CREATED and PENDING."""

    CREATED = 1
    PROVISIONED = 2
    NETWORK_SETUP = 3
    RUNNING = 4
    STOPPED = 5
    ERROR = 6
    FAILED = 7
    CANCELLED = 8
    NETWORK_TEARDOWN = 9
    PENDING = 10
    PROVISIONING = 11
    NETWORK_SETTING_UP = 12
    NETWORK_TEARING_DOWN = 13

    @classmethod
    def get_state_str(cls, state_int: int) -> str:
        """The state in words; ``undefined`` for a number that is none."""
        return _STATE_WORDS.get(state_int, "undefined")


_STATE_WORDS = {
    ExperimentState.CREATED: "created",
    ExperimentState.PROVISIONED: "provisioned",
    ExperimentState.NETWORK_SETUP: "network setup",
    ExperimentState.RUNNING: "running",
    ExperimentState.STOPPED: "stopped",
    ExperimentState.ERROR: "error",
    ExperimentState.FAILED: "failed",
    ExperimentState.CANCELLED: "canceled",
    ExperimentState.NETWORK_TEARDOWN: "network teardown",
    ExperimentState.PENDING: "pending",
    ExperimentState.PROVISIONING: "provisioning",
    ExperimentState.NETWORK_SETTING_UP: "network setting up",
    ExperimentState.NETWORK_TEARING_DOWN: "network tearing down",
}


class Region:
    """Where machines could be rented."""

    CA1 = "West Coast (CA1)"
    NY2 = "East Coast (NY2)"
    AMS1 = "Europe (AMS1)"


class RunMode:
    """How a command was given."""

    RUN_MODE_DEFAULT = 1
    RUN_MODE_PYTHON_COMMAND = 2
    RUN_MODE_SHELL_COMMAND = 3
    RUN_MODE_PYTHON_MODULE = 4


MACHINE_TYPES = (
    *("Air", "Standard", "Pro", "Advanced", "GPU+", "P4000", "P5000", "P6000", "V100"),
    *(f"C{number}" for number in range(1, 11)),
)

BILLING_TYPES = ["hourly", "monthly"]
