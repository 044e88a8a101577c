"""How is it written? Model values ⇄ protobuf bytes; the only place below rpc and execution that knows protobuf."""
