"""Intervals and tests on plain floats, for an arm's score, a difference of arms, and a trace's verdict.

Nothing here returns nan: each docstring defines the result of degenerate input. Random functions take an explicit
`numpy.random.Generator`.
"""

from tracedistill.stats.agreement import cohen_kappa, krippendorff_alpha
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
from tracedistill.stats.kept_gain import KeptGain, share_kept
from tracedistill.stats.paired import (
    Difference,
    Discordance,
    discordance,
    mcnemar_exact,
    paired_bootstrap,
)
from tracedistill.stats.power import detectable_by_error, minimum_detectable_effect, paired_power
from tracedistill.stats.samples import pass_at_k
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
    "chi_square",
    "clustered_mean",
    "cohen_kappa",
    "crossed_bootstrap",
    "crossed_test",
    "detectable_by_error",
    "discordance",
    "holm",
    "joint_table",
    "joint_table_of_counts",
    "krippendorff_alpha",
    "mantel_haenszel",
    "mcnemar_exact",
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
    "wilson",
]
