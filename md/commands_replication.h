// What MS_APPLY and MS_WINDOW share. Runs in md.
#pragma once

#include "md/plan.h"

namespace millrace::md {

/// from to effects [effects ...]: what the master did behind stream number `from`, up to `to`. An effect that clears or swaps databases, or writes into a value,
/// stands alone.
void apply_effects(Plan& plan, Arguments arguments);

}  // namespace millrace::md
