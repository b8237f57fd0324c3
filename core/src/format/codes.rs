//! What files call the variants of softmax, and the conditions and commands of rules. A variant that is
//! forgotten here does not compile.

#![forbid(unsafe_code)]

use super::record::SOFTMAXES;
use crate::layers::{Command, Condition, SoftmaxVariant};

/// The softmax variants of the original in the order of [`SOFTMAXES`].
pub(super) const VARIANTS: [SoftmaxVariant; 10] = [
    SoftmaxVariant::Standard,
    SoftmaxVariant::Grid,
    SoftmaxVariant::Hierarchical,
    SoftmaxVariant::Temperature,
    SoftmaxVariant::Gumbel,
    SoftmaxVariant::Masked,
    SoftmaxVariant::Sparse,
    SoftmaxVariant::Adaptive,
    SoftmaxVariant::Mixture,
    SoftmaxVariant::Entmax,
];

/// The name that files have for a variant.
pub(super) fn softmax_name(variant: SoftmaxVariant) -> &'static str {
    match variant {
        SoftmaxVariant::Standard => SOFTMAXES[0],
        SoftmaxVariant::Grid => SOFTMAXES[1],
        SoftmaxVariant::Hierarchical => SOFTMAXES[2],
        SoftmaxVariant::Temperature => SOFTMAXES[3],
        SoftmaxVariant::Gumbel => SOFTMAXES[4],
        SoftmaxVariant::Masked => SOFTMAXES[5],
        SoftmaxVariant::Sparse => SOFTMAXES[6],
        SoftmaxVariant::Adaptive => SOFTMAXES[7],
        SoftmaxVariant::Mixture => SOFTMAXES[8],
        SoftmaxVariant::Entmax => SOFTMAXES[9],
        // Such a layer is one string.
        SoftmaxVariant::Log => "Log",
    }
}

/// The conditions of rules.
pub(super) const CONDITIONS: [Condition; 8] = [
    Condition::StdAbove,
    Condition::StdBelow,
    Condition::MeanAbove,
    Condition::MeanBelow,
    Condition::MaxAbove,
    Condition::ActiveBelow,
    Condition::StdGrowth,
    Condition::GainDrift,
];

/// The commands of rules.
pub(super) const COMMANDS: [Command; 4] =
    [Command::BecomeDense, Command::BecomeSoftmax, Command::BecomeRmsNorm, Command::ResetToIdentity];

/// The code that files have for a condition.
pub(super) fn condition_code(condition: Condition) -> i64 {
    match condition {
        Condition::StdAbove => 1,
        Condition::StdBelow => 2,
        Condition::MeanAbove => 3,
        Condition::MeanBelow => 4,
        Condition::MaxAbove => 5,
        Condition::ActiveBelow => 6,
        Condition::StdGrowth => 7,
        Condition::GainDrift => 8,
    }
}

/// The code that files have for a command: a letter of the original.
pub(super) fn command_code(command: Command) -> f32 {
    match command {
        Command::BecomeDense => 70.0,
        Command::BecomeSoftmax => 83.0,
        Command::BecomeRmsNorm => 90.0,
        Command::ResetToIdentity => 101.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_codes_are_unique() {
        for (i, variant) in VARIANTS.iter().enumerate() {
            assert_eq!(softmax_name(*variant), SOFTMAXES[i]);
        }
        let conditions: BTreeSet<i64> = CONDITIONS.into_iter().map(condition_code).collect();
        let commands: BTreeSet<u32> = COMMANDS.into_iter().map(|command| command_code(command).to_bits()).collect();
        assert_eq!((conditions.len(), commands.len()), (CONDITIONS.len(), COMMANDS.len()));
    }
}
