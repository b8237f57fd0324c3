//! Layers that are watched, and the rules that change them.

use super::{Place, Recorded, child};
use crate::error::{Error, Result};
use crate::format::codes::{COMMANDS, CONDITIONS, command_code, condition_code};
use crate::format::path::LayerPath;
use crate::format::path::Step;
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
        let wrong = |what: String| Error::Document { path: path.to_string(), what };
        let rules = self.rules.iter().map(RuleRecord::of_rule).collect::<std::result::Result<_, _>>();
        record.set(Key::MetaRules, Value::Rules(rules.map_err(wrong)?));
        if let Some(observed) = &self.observed {
            let observed = Record::of_spec(observed, &path.inner(Step::Observed))?;
            record.set(Key::MetaObservedLayer, Value::Layer(Box::new(observed)));
        }
        Ok(())
    }
}

impl RuleRecord {
    fn rule(&self) -> std::result::Result<Rule, String> {
        let condition = CONDITIONS.iter().find(|condition| condition_code(**condition) == self.condition);
        let condition =
            condition.ok_or_else(|| format!("unknown rule condition {}; expected 1 to 8", self.condition))?;
        let command = COMMANDS.iter().find(|command| command_code(**command) == self.command);
        let command = command.ok_or_else(|| {
            let command = self.command;
            format!("rule command {command} leaves a broken or random layer; expected 70, 83, 90 or 101")
        })?;
        let column = || match self.param {
            param if param >= 0.0 && param.fract() == 0.0 && param < 16_777_216.0 => Ok(param as usize),
            param => Err(format!("rule parameter {param} is not a column of the grid")),
        };
        Ok(Rule {
            condition: *condition,
            threshold: self.threshold,
            command: *command,
            cooldown: u64::try_from(self.cooldown)
                .map_err(|_| format!("rule cooldown {} is negative", self.cooldown))?,
            target: if self.self_only { None } else { Some(column()?) },
        })
    }

    fn of_rule(rule: &Rule) -> std::result::Result<Self, String> {
        let column = rule.target.unwrap_or(0);
        if column >= 1 << 24 {
            return Err(format!("rule target {column} is no number that float32 holds"));
        }
        Ok(Self {
            condition: condition_code(rule.condition),
            threshold: rule.threshold,
            command: command_code(rule.command),
            param: column as f32,
            cooldown: i64::try_from(rule.cooldown).map_err(|_| "rule cooldown is beyond 63 bits".to_string())?,
            self_only: rule.target.is_none(),
        })
    }
}
