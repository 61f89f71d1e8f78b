"""HDF5 filters: what compressed a dataset, and whether this machine can read it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import DataError

# The registered numbers: https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
IN_HDF5PLUGIN = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
ECF = 0x8ECF  # Prophesee's compression of events, https://github.com/prophesee-ai/hdf5_ecf


def refuse_missing_filters(file: Path, dataset: Any) -> None:
    """Check that HDF5 has the filters of a dataset; those of the package hdf5plugin are used if it is installed.

    Args:
        file: The file, for the message.
        dataset: An `h5py.Dataset`.

    Raises:
        DataError: If a filter is missing; names it, and says where to get it.
    """
    from h5py import h5z  # type: ignore[import-untyped]

    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if all(map(h5z.filter_avail, filters)):
        return
    with suppress(ImportError):
        import hdf5plugin  # type: ignore[import-not-found]  # noqa: F401  # registers its filters
    for number in filters:
        if not h5z.filter_avail(number):
            name = IN_HDF5PLUGIN.get(number, "ECF" if number == ECF else "unknown")
            mend = "Install the filter, and name its folder in HDF5_PLUGIN_PATH."
            if number in IN_HDF5PLUGIN:
                mend = "Install it: pip install hdf5plugin."
            elif number == ECF:
                mend = f"{mend[:-1]}: https://github.com/prophesee-ai/hdf5_ecf."
            problem = f"expected filters that HDF5 has here, found {number} ({name}) at {dataset.name}. {mend}"
            raise DataError(file, problem)
