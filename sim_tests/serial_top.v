// The far end of a serial line, and the clock: bytes from and to cocotb, some at a time.
//
// A change of `push` sends the first `count` bytes of `bytes`; a change of `pull` takes what has
// been received. Both at most once a cycle. The line is 8N1 without gaps, DIVISOR cycles a bit.

`timescale 1ns / 1ps

module serial_top (
    input              push,
    input      [255:0] bytes,
    input      [5:0]   count,
    output     [16:0]  waiting,
    input              pull,
    output reg [255:0] received,
    output reg [5:0]   received_count,
    output reg [63:0]  cycles
);
    reg       clk = 0, rst = 1;
    reg [1:0] reset_cycles = 3;
    always #5 clk = !clk;
    always @(posedge clk) begin
        rst <= reset_cycles != 0;
        cycles <= cycles + 1;
        if (reset_cycles != 0) reset_cycles <= reset_cycles - 1;
    end

    wire tx;
    reg  rx = 1;
`ifdef FLASH
    wire       flash_cs, flash_clk, flash_dq_oe;
    wire [3:0] flash_dq_o, flash_dq_i;
    wire [7:0] violation;
    top device (
        .clk(clk), .rst(rst), .rx(rx), .tx(tx),
        .flash__cs(flash_cs), .flash__clk(flash_clk),
        .flash__dq_o(flash_dq_o), .flash__dq_oe(flash_dq_oe), .flash__dq_i(flash_dq_i)
    );
    flash_model #(`FLASH) memory (
        .clk(clk), .rst(rst), .cs(flash_cs), .sck(flash_clk),
        .dq_o(flash_dq_o), .dq_oe(flash_dq_oe), .dq_i(flash_dq_i),
        .violation(violation), .reads(), .doing()
    );
    always @(posedge clk) if (violation != 0) $fatal(1, "rule %0d of the flash is broken", violation);
`else
    top device (.clk(clk), .rst(rst), .rx(rx), .tx(tx));
`endif

    // To the device.
    reg [7:0]  queue [0:65535];
    reg [16:0] written = 0, sent = 0;
    reg        pushed = 0;
    reg [9:0]  shift;
    reg [3:0]  bits = 0;
    reg [15:0] timer = 0;
    integer    i;
    assign waiting = written - sent;
    always @(posedge clk) begin
        pushed <= push;
        if (push != pushed) begin
            for (i = 0; i < 32; i = i + 1)
                if (i < count) queue[(written[15:0] + i) & 65535] <= bytes[8 * i +: 8];
            written <= written + {11'd0, count};
        end
        if (timer != 0) timer <= timer - 1;
        else if (bits != 0) begin
            rx <= shift[0];
            shift <= shift >> 1;
            bits <= bits - 1;
            timer <= `DIVISOR - 1;
        end
        // The last cycle of the stop bit prepares the next start bit.
        if (bits == 0 && timer <= 1 && written != sent) begin
            shift <= {1'b1, queue[sent[15:0]], 1'b0};
            sent <= sent + 1;
            bits <= 10;
        end
    end

    // From the device.
    reg [15:0] wait_for = 0;
    reg [3:0]  left = 0;
    reg [7:0]  byte_in;
    reg        pulled = 0;
    wire [5:0] kept = pull != pulled ? 6'd0 : received_count;
    always @(posedge clk) begin
        pulled <= pull;
        received_count <= kept;
        if (left == 0) begin
            if (!tx) begin
                left <= 10;
                wait_for <= `DIVISOR / 2 - 1;
            end
        end else if (wait_for != 0) wait_for <= wait_for - 1;
        else begin
            wait_for <= `DIVISOR - 1;
            left <= left - 1;
            if (left == 10 && tx) left <= 0;
            if (left > 1) byte_in <= {tx, byte_in[7:1]};
            else if (tx) begin
                received[8 * kept[4:0] +: 8] <= byte_in;
                received_count <= kept + 1;
            end
        end
    end
endmodule
