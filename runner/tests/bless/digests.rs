//! Blessing the digests of our own outputs, and the reasons that they stand under.

use std::fs;

use loom_runner::stages::golden::Core;

use super::RUN;
use super::common::Project;

#[test]
fn blessing_digests_leaves_the_reasons_of_the_others() {
    let project = Project::new();
    let path = project.path("golden/dense/core.yaml");
    let text = fs::read_to_string(&path).expect("digests");
    let before = project.core();
    let spoilt = |model: &str| before.digests[model]["int8/loom"].clone();
    assert_ne!(spoilt("linear_16_4"), spoilt("linear_32_4"));
    let wrong = text.replace(&spoilt("linear_16_4"), "0").replace(&spoilt("linear_32_4"), "0");
    fs::write(&path, wrong).expect("written");
    let core = ["bless", "dense", "--core", "--accept", "one moved", "--model", "linear_16_4"];
    let said = project.passes(&core);
    assert!(said.contains("linear_16_4 int8/loom") && !said.contains("linear_32_4"), "{said}");
    let after = project.core();
    let reason = |core: &Core, model: &str| {
        core.accepted.iter().find(|known| known.models.contains(model)).expect("a reason").why.clone()
    };
    assert_eq!(after.digests["linear_16_4"], before.digests["linear_16_4"]);
    assert_eq!(after.digests["linear_32_4"]["int8/loom"], "0");
    for model in before.digests.keys().filter(|model| *model != "linear_16_4") {
        assert_eq!(reason(&after, model), reason(&before, model), "{model}");
    }
    assert_eq!(reason(&after, "linear_16_4"), "one moved");
    // Without --model, too, only the model that moved has the new reason.
    project.passes(&["bless", "dense", "--core", "--accept", "the other moved"]);
    let last = project.core();
    assert_eq!(last.digests, before.digests);
    assert_eq!((reason(&last, "linear_32_4").as_str(), last.accepted.len()), ("the other moved", 3));
    assert_eq!(reason(&last, "linear_16_4"), "one moved");
    // Nothing moves: nothing is written.
    let bytes = fs::read(&path).expect("digests");
    project.passes(&["bless", "dense", "--core", "--accept", "nothing moved"]);
    assert!(bytes == fs::read(&path).expect("digests"));
    let none = ["bless", "dense", "--core", "--accept", "why", "--model", "lin_16"];
    assert!(project.fails(&none, 2).contains("no model of these bedrocks matches \"lin_16\""));
}

#[test]
fn a_model_without_a_reason_is_refused_until_it_is_blessed() {
    let project = Project::new();
    let path = project.path("golden/dense/core.yaml");
    let text = fs::read_to_string(&path).expect("digests");
    for wrong in ["", "  - linear_16_4\n- why: another\n  models:\n  - linear_16_4\n"] {
        fs::write(&path, text.replacen("  - linear_16_4\n", wrong, 1)).expect("written");
        let said = project.fails(&["verify"], 1);
        assert!(said.contains("core.yaml: linear_16_4 is not under exactly one reason"), "{said}");
        project.passes(&["bless", "dense", "--core", "--accept", "as it was", "--model", "linear_16_4"]);
        project.passes(RUN);
        assert!(project.core().accepted.iter().any(|known| known.why == "as it was" && known.models.len() == 1));
    }
}
