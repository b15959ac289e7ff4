// The reader as io_conn runs it; see direct_reader.h.
#include "io_conn/direct_reader_impl.h"

namespace millrace::io_conn {

template class BasicDirectReader<RacingLoad>;

}  // namespace millrace::io_conn
