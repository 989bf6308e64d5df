#include "trace/trace-hw_hsl.h"
