// Block RAM of 2,048 bytes: what the models of DP16KD and of Gowin's kinds share. Port A writes and
// reads, port B reads.
//
// A word of 1, 2 or 4 bits lies in the low eight bits of a byte. One of two or four bytes has an
// enable for each of them, in the lowest bits of its address. What port B reads of a word at the
// edge at which port A writes it is undefined in the data sheets: here it is noise, so that a design
// that uses it fails. Both ports have one clock, or one of them is not used.

module block_ram #(
    parameter BYTE = 9,         // bits of a byte: 8 or 9
    parameter WIDTH_A = 9,      // of a word: 1, 2, 4, or 1, 2 or 4 bytes
    parameter WIDTH_B = 9,
    parameter [1:0] MODE = 0,   // what port A reads when it writes: 0 nothing, 1 new, 2 old word
    parameter [2048*BYTE-1:0] INIT = 0
) (
    input             clk_a, enable_a, write_a,
    input      [13:0] address_a,
    input      [35:0] d_a,
    output reg [35:0] q_a,
    input             clk_b, enable_b, reset_b,
    input      [13:0] address_b,
    output reg [35:0] q_b
);
    localparam COUNT_A = WIDTH_A > BYTE ? WIDTH_A / BYTE : 1;
    localparam COUNT_B = WIDTH_B > BYTE ? WIDTH_B / BYTE : 1;
    localparam [BYTE-1:0] ALL = {BYTE{1'b1}};
    localparam [BYTE-1:0] BITS_A = WIDTH_A < 8 ? (1 << WIDTH_A) - 1 : ALL;
    localparam [BYTE-1:0] BITS_B = WIDTH_B < 8 ? (1 << WIDTH_B) - 1 : ALL;

    reg [BYTE-1:0] bytes [0:2047];
    integer n;
    initial begin
        for (n = 0; n < 2048; n = n + 1) bytes[n] = INIT[n*BYTE +: BYTE];
        q_a = 0;
        q_b = 0;
    end

    // Where a word begins: its first byte, and the bit in it.
    wire [10:0] first_a = address_a[13:3] & ~(COUNT_A[10:0] - 11'd1);
    wire [10:0] first_b = address_b[13:3] & ~(COUNT_B[10:0] - 11'd1);
    wire [2:0]  bit_a = WIDTH_A < 8 ? address_a[2:0] & ~(WIDTH_A[2:0] - 3'd1) : 3'd0;
    wire [2:0]  bit_b = WIDTH_B < 8 ? address_b[2:0] & ~(WIDTH_B[2:0] - 3'd1) : 3'd0;
    wire [3:0]  chosen = !enable_a || !write_a ? 4'd0 : COUNT_A > 1 ? address_a[3:0] : 4'd1;

    integer i, j;
    reg [BYTE-1:0] old, word;
    always @(posedge clk_a) if (enable_a)
        for (i = 0; i < COUNT_A; i = i + 1) begin
            old = bytes[first_a + i[10:0]];
            word = chosen[i] ? (old & ~(BITS_A << bit_a)) | (d_a[i*BYTE +: BYTE] & BITS_A) << bit_a : old;
            if (chosen[i]) bytes[first_a + i[10:0]] <= word;
            if (!write_a || MODE != 0)
                q_a[i*BYTE +: BYTE] <= ((MODE == 1 ? word : old) >> bit_a) & BITS_A;
        end

    reg [10:0]     place, distance;
    reg [BYTE-1:0] clash, got;
    always @(posedge clk_b)
        if (reset_b) q_b <= 0;
        else if (enable_b)
            for (j = 0; j < COUNT_B; j = j + 1) begin
                place = first_b + j[10:0];
                distance = place - first_a;
                clash = distance < COUNT_A && chosen[distance[1:0]] ? BITS_A << bit_a : 0;
                got = bytes[place];
                if (clash != 0) got = (got & ~clash) | ($urandom & clash);
                q_b[j*BYTE +: BYTE] <= (got >> bit_b) & BITS_B;
            end
endmodule
