"""The Batchyard server. A request goes rpc → engine → store; the work goes store → dispatch → execution."""
