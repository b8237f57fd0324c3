//! Layers that are watched, and the rules that change them.

use super::{Place, Recorded, child};
use crate::error::{Error, Result};
use crate::format::codes::{COMMANDS, CONDITIONS, command_code, condition_code};
use crate::format::path::{LayerPath, Step};
use crate::format::record::{Key, Record, RuleRecord, Value};
use crate::layers::{MetacognitionSpec, Rule};

impl Recorded for MetacognitionSpec {
    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let observed = child(record, Step::Observed, place)?;
        let rules: &[RuleRecord] = match record.get(Key::MetaRules) {
            Some(Value::Rules(rules)) => rules,
            _ => &[],
        };
        let rules = rules.iter().map(RuleRecord::rule).collect::<std::result::Result<_, _>>();
        Ok(Self { observed, rules: rules.map_err(|what| place.error(what))? })
    }

    fn to_record(&self, record: &mut Record, path: &LayerPath) -> Result<()> {
        let wrong = |error: Unwritten| Error::Document { path: path.to_string(), what: error.to_string() };
        let rules = self.rules.iter().map(RuleRecord::of_rule).collect::<std::result::Result<_, _>>();
        record.set(Key::MetaRules, Value::Rules(rules.map_err(wrong)?));
        if let Some(observed) = &self.observed {
            let observed = Record::of_spec(observed, &path.inner(Step::Observed))?;
            record.set(Key::MetaObservedLayer, Value::Layer(Box::new(observed)));
        }
        Ok(())
    }
}

/// What a record says that no rule of ours does.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
enum Unread {
    #[error("unknown rule condition {0}; expected 1 to 8")]
    Condition(i64),
    #[error("rule command {0} leaves a broken or random layer; expected 70, 83, 90 or 101")]
    Command(f32),
    #[error("rule parameter {0} is not a column of the grid")]
    Column(f32),
    #[error("rule cooldown {0} is negative")]
    Cooldown(i64),
}

/// What a rule says that a record has no number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unwritten {
    #[error("rule target {0} is no number that float32 holds")]
    Column(usize),
    #[error("rule cooldown is beyond 63 bits")]
    Cooldown(u64),
}

impl RuleRecord {
    fn rule(&self) -> std::result::Result<Rule, Unread> {
        let condition = CONDITIONS.iter().find(|condition| condition_code(**condition) == self.condition);
        let condition = condition.ok_or(Unread::Condition(self.condition))?;
        let command = COMMANDS.iter().find(|command| command_code(**command) == self.command);
        let command = command.ok_or(Unread::Command(self.command))?;
        let column = || match self.param {
            param if param >= 0.0 && param.fract() == 0.0 && param < 16_777_216.0 => Ok(param as usize),
            param => Err(Unread::Column(param)),
        };
        Ok(Rule {
            condition: *condition,
            threshold: self.threshold,
            command: *command,
            cooldown: u64::try_from(self.cooldown).map_err(|_| Unread::Cooldown(self.cooldown))?,
            target: if self.self_only { None } else { Some(column()?) },
        })
    }

    fn of_rule(rule: &Rule) -> std::result::Result<Self, Unwritten> {
        let column = rule.target.unwrap_or(0);
        if column >= 1 << 24 {
            return Err(Unwritten::Column(column));
        }
        Ok(Self {
            condition: condition_code(rule.condition),
            threshold: rule.threshold,
            command: command_code(rule.command),
            param: column as f32,
            cooldown: i64::try_from(rule.cooldown).map_err(|_| Unwritten::Cooldown(rule.cooldown))?,
            self_only: rule.target.is_none(),
        })
    }
}
