//! Makes a plan that fails smaller: on fewer partitions, and without whatever it fails without, too.

use crate::plan::Plan;

/// The smallest plan found, and its line in the table of those that are kept.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&Plan) -> bool) -> (Plan, String) {
    let on = |partitions: usize| plan.clone().on(partitions);
    let partitions = (1..plan.partitions).find(|n| fails(&on(*n))).unwrap_or(plan.partitions);
    let plan = &on(partitions);
    let mut faults: Vec<usize> = (0..plan.faults.len()).collect();
    let mut steps: Vec<usize> = (0..plan.steps.len()).collect();
    faults = fewer(faults, |faults| fails(&plan.clone().only(&steps, faults)));
    steps = fewer(steps, |steps| fails(&plan.clone().only(steps, &faults)));
    faults = fewer(faults, |faults| fails(&plan.clone().only(&steps, faults)));
    let kept = format!(
        "Kept {{ seed: {}, on: Some({partitions}), steps: &{steps:?}, faults: &{faults:?}, was: \"\" }},",
        plan.seed
    );
    (plan.clone().only(&steps, &faults), kept)
}

/// Leaves parts out, first large ones, as long as it fails.
fn fewer(mut all: Vec<usize>, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut size = all.len();
    while size > 0 {
        let mut at = 0;
        while at < all.len() {
            let without: Vec<usize> =
                all.iter().enumerate().filter(|(n, _)| !(at..at + size).contains(n)).map(|(_, n)| *n).collect();
            if fails(&without) {
                all = without;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    all
}
