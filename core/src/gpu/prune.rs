//! Takes out of a module the branches that its constants have decided: drivers would compile every
//! way to decode a weight wherever a kernel decodes one.

use naga::{Block, Expression, Function, Handle, Literal, Module, Statement, SwitchValue};

/// Replaces `switch` and `if` on constants by the branch that is taken.
pub(super) fn decided(module: &mut Module) {
    // A function is taken out while it is changed, since its constants stand in the module.
    for handle in module.functions.iter().map(|(handle, _)| handle).collect::<Vec<_>>() {
        let mut function = std::mem::take(&mut module.functions[handle]);
        in_function(module, &mut function);
        module.functions[handle] = function;
    }
    for i in 0..module.entry_points.len() {
        let mut function = std::mem::take(&mut module.entry_points[i].function);
        in_function(module, &mut function);
        module.entry_points[i].function = function;
    }
}

fn in_function(module: &Module, function: &mut Function) {
    let mut body = std::mem::take(&mut function.body);
    let literal = |handle: Handle<Expression>| match function.expressions[handle] {
        Expression::Literal(literal) => Some(literal),
        Expression::Constant(constant) => match module.global_expressions[module.constants[constant].init] {
            Expression::Literal(literal) => Some(literal),
            _ => None,
        },
        _ => None,
    };
    in_block(&mut body, &literal);
    function.body = body;
    // Names would keep what the branches that are gone have computed.
    function.named_expressions.clear();
}

fn in_block(block: &mut Block, literal: &dyn Fn(Handle<Expression>) -> Option<Literal>) {
    let whole = std::mem::take(block);
    for (statement, span) in whole.span_into_iter() {
        let statement = match statement {
            Statement::Switch { selector, mut cases } => {
                let is = |value: SwitchValue| match (value, literal(selector)) {
                    (SwitchValue::U32(a), Some(Literal::U32(b))) => a == b,
                    (SwitchValue::I32(a), Some(Literal::I32(b))) => a == b,
                    _ => false,
                };
                let place = cases.iter().position(|case| is(case.value));
                let default = cases.iter().position(|case| case.value == SwitchValue::Default);
                match (literal(selector), place.or(default)) {
                    // A case that another one leads into is left to the driver.
                    (Some(_), Some(mut place)) if !cases.iter().any(|case| breaks(&case.body)) => {
                        while cases[place].fall_through && cases[place].body.is_empty() && place + 1 < cases.len() {
                            place += 1;
                        }
                        Statement::Block(std::mem::take(&mut cases[place].body))
                    }
                    _ => Statement::Switch { selector, cases },
                }
            }
            Statement::If { condition, accept, reject } => match literal(condition) {
                Some(Literal::Bool(true)) => Statement::Block(accept),
                Some(Literal::Bool(false)) => Statement::Block(reject),
                _ => Statement::If { condition, accept, reject },
            },
            other => other,
        };
        block.push(statement, span);
    }
    for statement in block.iter_mut() {
        match statement {
            Statement::Block(block) => in_block(block, literal),
            Statement::If { accept, reject, .. } => {
                in_block(accept, literal);
                in_block(reject, literal);
            }
            Statement::Switch { cases, .. } => cases.iter_mut().for_each(|case| in_block(&mut case.body, literal)),
            Statement::Loop { body, continuing, .. } => {
                in_block(body, literal);
                in_block(continuing, literal);
            }
            _ => {}
        }
    }
}

/// Whether a block leaves the switch that it stands in.
fn breaks(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Break => true,
        Statement::Block(block) => breaks(block),
        Statement::If { accept, reject, .. } => breaks(accept) || breaks(reject),
        _ => false,
    })
}
