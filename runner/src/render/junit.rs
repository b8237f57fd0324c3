//! JUnit XML, for CI.

use loom_bedrocks::BEDROCKS;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::stages::judge::Label;
use crate::stages::report::Row;

/// The labels of a run.
///
/// # Errors
/// When the document cannot be written as XML.
pub fn junit(rows: &[Row], failures: &[String], share: Option<&str>) -> anyhow::Result<String> {
    let name = share.map_or("bedrock".into(), |share| format!("bedrock, share {share}"));
    let mut report = Report::new(name);
    for bedrock in BEDROCKS {
        let mut suite = TestSuite::new(bedrock);
        for row in rows.iter().filter(|row| row.parts()[0] == bedrock) {
            let reason = || {
                row.reason
                    .clone()
                    .unwrap_or_else(|| format!("band: {}", row.band.as_deref().unwrap_or("that of the check")))
            };
            let status = match row.label {
                Label::Skip | Label::Unjudged => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason());
                    status
                }
                label if !label.is_red() => TestCaseStatus::success(),
                label => {
                    let kind = if label == Label::Error { NonSuccessKind::Error } else { NonSuccessKind::Failure };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_type(label.name()).set_message(reason());
                    status
                }
            };
            let mut case = TestCase::new(row.id.clone(), status);
            case.set_classname(bedrock);
            suite.add_test_case(case);
        }
        if suite.test_cases.is_empty() {
            continue;
        }
        report.add_test_suite(suite);
    }
    if !failures.is_empty() {
        let mut suite = TestSuite::new("run");
        for failure in failures {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.clone());
            suite.add_test_case(TestCase::new(failure.clone(), status));
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}
