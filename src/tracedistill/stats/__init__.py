"""Intervals and tests on plain floats, for an arm's score, a difference of arms, and a trace's verdict.

Nothing here returns nan: each docstring defines the result of degenerate input. Random functions take an explicit
`numpy.random.Generator`.
"""

from tracedistill.stats.clustered import (
    Mean,
    Slope,
    Tested,
    clustered_mean,
    crossed_bootstrap,
    crossed_test,
    slope,
)
from tracedistill.stats.families import holm
from tracedistill.stats.intervals import Accuracy, Interval, Share, share, wilson
from tracedistill.stats.joint import (
    Counts,
    JointTable,
    Stratified,
    joint_table,
    joint_table_of_counts,
    mantel_haenszel,
)
from tracedistill.stats.kept import KeptGain, share_kept
from tracedistill.stats.paired import (
    Difference,
    Discordance,
    discordance,
    mcnemar_exact,
    paired_bootstrap,
)
from tracedistill.stats.power import (
    Detectable,
    detectable_by_error,
    minimum_detectable_effect,
    paired_power,
    unpaired_power,
)
from tracedistill.stats.samples import Vote, majority, mean_pass_at_k, pass_at_k
from tracedistill.stats.tables import (
    Change,
    ChiSquare,
    MethodRange,
    chi_square,
    method_ranges,
    relative_changes,
    two_proportion_z,
)

__all__ = [
    "Accuracy",
    "Change",
    "ChiSquare",
    "Counts",
    "Detectable",
    "Difference",
    "Discordance",
    "Interval",
    "JointTable",
    "KeptGain",
    "Mean",
    "MethodRange",
    "Share",
    "Slope",
    "Stratified",
    "Tested",
    "Vote",
    "chi_square",
    "clustered_mean",
    "crossed_bootstrap",
    "crossed_test",
    "detectable_by_error",
    "discordance",
    "holm",
    "joint_table",
    "joint_table_of_counts",
    "majority",
    "mantel_haenszel",
    "mcnemar_exact",
    "mean_pass_at_k",
    "method_ranges",
    "minimum_detectable_effect",
    "paired_bootstrap",
    "paired_power",
    "pass_at_k",
    "relative_changes",
    "share",
    "share_kept",
    "slope",
    "two_proportion_z",
    "unpaired_power",
    "wilson",
]
