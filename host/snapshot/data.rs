//! The data of a module, in as few pieces as its memory needs: an engine makes a record of each piece for each instance.

use wasm_encoder::{ConstExpr, DataSection, Module, RawSection};
use wasmparser::{DataKind, Operator, Parser, Payload};
use wasmtime::{Result, bail};

/// Pieces that lie closer are made one: most gaps are smaller than a page, which is copied as a whole.
const GAP_BYTES: usize = 4096;

/// Rewrites a module's data. Pieces that are copied at no time are left out.
pub(super) fn compact(module: &[u8]) -> Result<Vec<u8>> {
    let mut compacted = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            // Only a module without such a section has no instruction that names a piece of data.
            Payload::DataCountSection { .. } => return Ok(module.to_owned()),
            Payload::DataSection(pieces) => {
                let mut section = DataSection::new();
                let mut last: Option<(usize, Vec<u8>)> = None;
                for piece in pieces {
                    let piece = piece?;
                    let DataKind::Active {
                        memory_index: 0,
                        offset_expr,
                    } = piece.kind
                    else {
                        continue;
                    };
                    let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
                        bail!("its data is placed by something that is computed");
                    };
                    let at = value.cast_unsigned() as usize;
                    match &mut last {
                        Some((start, bytes)) if at >= *start + bytes.len() && at - *start - bytes.len() < GAP_BYTES => {
                            bytes.resize(at - *start, 0);
                            bytes.extend_from_slice(piece.data);
                        }
                        _ => {
                            put(&mut section, last.replace((at, piece.data.to_owned())))?;
                        }
                    }
                }
                put(&mut section, last)?;
                compacted.section(&section);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = &module[range];
                    compacted.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(compacted.finish())
}

fn put(section: &mut DataSection, piece: Option<(usize, Vec<u8>)>) -> Result<()> {
    if let Some((at, bytes)) = piece {
        let at = u32::try_from(at)?.cast_signed();
        section.active(0, &ConstExpr::i32_const(at), bytes);
    }
    Ok(())
}
