//! The least number of cases that manifests promise.

use crate::stages::manifest::Manifests;
use crate::stages::plan::Check;
use crate::stages::report::Row;

/// A sentence for each bedrock and check with fewer executed cases than its manifest promises.
pub(super) fn too_few(manifests: &Manifests, on_device: bool, rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in &manifests.bedrocks {
        let least = &manifest.min_cases;
        let cpu = [
            (Check::Parity, least.parity),
            (Check::Fidelity, least.fidelity),
            (Check::Kernel, least.kernel),
            (Check::Snapshot, least.snapshot),
            (Check::Roundtrip, least.roundtrip),
        ];
        // Version 2 has to hold every network: that is part of the roundtrip case.
        let held = [("json", least.json), ("v1", least.v1)];
        for (format, least) in held.into_iter().filter(|_| !on_device) {
            let bedrock = &manifest.bedrock;
            let holds = rows.iter().filter(|row| row.parts()[0] == *bedrock && row.holds(format)).count();
            if holds < least {
                found.push(format!(
                    "{bedrock}: {format} holds {holds} networks; min_cases of manifests/{bedrock}.yaml asks for {least}"
                ));
            }
        }
        let gpu = [(Check::Kernel, least.gpu)];
        for &(check, least) in if on_device { &gpu[..] } else { &cpu[..] } {
            // What a device cannot do counts: it is explained.
            let ran = |row: &&Row| row.parts()[0] == manifest.bedrock && row.parts()[2] == check.name();
            let ran = rows.iter().filter(ran).count();
            if ran < least {
                let (bedrock, check) = (&manifest.bedrock, check.name());
                found.push(format!(
                    "{bedrock}: {ran} {check} cases ran; min_cases of manifests/{bedrock}.yaml asks for {least}"
                ));
            }
        }
    }
    found
}
